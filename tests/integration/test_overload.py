"""Three times more is offered than can be done: what is admitted keeps its SLA, and the workers stay busy."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dramatiq
import pytest

from littleq.backends import backend_for, build_broker
from littleq.config import Config, SLAQueueConfig
from littleq.ledger import open_ledger
from littleq.middleware import Overloaded
from littleq.stack import install
from tests.support import eventually

PROCESSES, THREADS, SERVICE_TIME = 2, 4, 0.08
CAPACITY = PROCESSES * THREADS / SERVICE_TIME  # 100 jobs/s
SLA_SECONDS, PERCENTILE = 2.0, 95.0
TRAFFIC_SECONDS = 12.0

#: From 0 to twice the mean, evenly and well mixed. Of a hundred drawn at random the mean is off by 6 % one time in
#: three, and so is the limit that is measured from them: for the next seconds, by chance, many jobs were late.
SERVICE_TIMES = [SERVICE_TIME * 2 * (k + 0.5) / 8 for k in (3, 6, 0, 5, 2, 7, 1, 4)]

APP = f"""
import itertools, time
import dramatiq, littleq
littleq.setup()
seconds = itertools.cycle({SERVICE_TIMES})

@dramatiq.actor(queue_name="q", actor_name="work")
def work():
    time.sleep(next(seconds))
"""

SETTINGS = f"""
[exporter]
enabled = false
[queues.q]
admission = "capacity"
sla_seconds = {SLA_SECONDS}
percentile = {PERCENTILE}
service_time_seconds = {SERVICE_TIME}
"""


@pytest.mark.parametrize("on_overload", ["shed", "defer"])
def test_admitted_jobs_keep_their_sla_and_workers_stay_busy(
    valkey_url: str,
    redis_client: Any,
    dramatiq_processes: Callable[..., subprocess.Popen[bytes]],
    tmp_path: Path,
    on_overload: str,
) -> None:
    (tmp_path / "overload_app.py").write_text(APP)
    (tmp_path / "littleq.toml").write_text(SETTINGS)
    dramatiq_processes(
        "overload_app", "--processes", str(PROCESSES), "--threads", str(THREADS), LITTLEQ_URL=valkey_url
    )
    queue = SLAQueueConfig(
        "q",
        admission="capacity",
        sla_seconds=SLA_SECONDS,
        percentile=PERCENTILE,
        service_time_seconds=SERVICE_TIME,
        on_overload=on_overload,  # type: ignore[arg-type]
    )
    config = Config(url=valkey_url, queues={"q": queue}, exporter_enabled=False)
    broker = install(build_broker(config), config)
    work = dramatiq.actor(lambda: None, actor_name="work", queue_name="q", broker=broker)
    ledger = open_ledger(config)
    eventually(lambda: ledger.snapshot().servers("q") == PROCESSES * THREADS, what="all workers")

    inspector = backend_for(broker).inspector

    def finished() -> int:
        accounts = inspector.truth(["q"])["q"].accounts
        return accounts.done if accounts is not None else 0

    shed = 0
    began = 0.0
    started = time.monotonic()
    sent = 0
    before = None
    while (elapsed := time.monotonic() - started) < TRAFFIC_SECONDS:
        while sent < elapsed * 3 * CAPACITY:  # open loop: due sends are sent, whatever became of the others
            sent += 1
            try:
                work.send()
            except Overloaded:
                shed += 1
        if before is None and elapsed > 3:  # the queue is full by now: from here on it is overloaded for good
            before, began = finished(), time.monotonic()
        time.sleep(0.005)
    assert before is not None
    rate = (finished() - before) / (time.monotonic() - began)
    totals = ledger.snapshot().queue("q").totals

    in_time = 1 - totals.get("breached", 0.0) / totals["started"]
    service_time = totals["service:sum"] / totals["service:count"]
    busy = rate * service_time / (PROCESSES * THREADS)
    assert in_time >= PERCENTILE / 100, (
        f"only {in_time:.1%} of the admitted jobs started within {SLA_SECONDS} s"
    )
    assert busy >= 0.95, f"the workers were busy only {busy:.1%} of the time"
    if on_overload == "shed":
        assert shed > sent / 2
        assert broker.littleq_gate.admission.recorder.flush()  # type: ignore[attr-defined]
        assert ledger.snapshot().queue("q").totals["shed:default"] == shed
    else:
        assert shed == 0
