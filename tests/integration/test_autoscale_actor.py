"""The periodic actor and `littleq controller`, with real processes on a real server."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from littleq.autoscale.actor import declare_scaling_actor
from littleq.config import SLAQueueConfig
from littleq.ledger.decisions import read_decisions
from littleq.ledger.redis import RedisLedger
from tests.support import ROOT, OurApp, eventually

CONTROL = "littleq.control"
INTERVAL = 1
SETTINGS = """
url = "{url}"
decide_seconds = {interval}
flush_seconds = 0.2

[queues.mail]
sla_seconds = 1
admission = "off"
service_time_seconds = 0.1
min_workers = 0
max_workers = 3
"""


class Controllers:
    """`littleq controller` processes in one folder."""

    def __init__(self, folder: Path, url: str, client: Any) -> None:
        (folder / "littleq.toml").write_text(SETTINGS.format(url=url, interval=INTERVAL))
        self.folder, self.mark = folder, f"controller-test-{folder}"
        self.ledger = RedisLedger(client)
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LITTLEQ_")}
        with (self.folder / f"log-{len(self.started)}").open("wb") as log:
            self.started.append(
                subprocess.Popen(
                    [sys.executable, "-c", "from littleq.cli import main; main()", "controller", *arguments],
                    cwd=self.folder,
                    env={**environment, "PYTHONPATH": str(ROOT), "CONTROLLER_TEST": self.mark},
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )
        return self.started[-1]

    def logs(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob("log-*")))

    def decided(self) -> Any:
        """The last decision about `mail`."""
        return read_decisions(self.ledger).get("mail")

    def decided_after(self, moment: float) -> bool:
        found = self.decided()
        return found is not None and found.decided_at > moment

    def now(self) -> float:
        """By the server's clock, which dates decisions."""
        return self.ledger.snapshot([]).taken_at

    def ready(self, part: str) -> list[int]:
        """All processes that have ever been ready as this part."""
        return [int(pid) for pid in re.findall(rf"{part}: process (\d+) is ready", self.logs())]

    def children(self) -> list[int]:
        """Processes that inherited our mark, but for `littleq controller` itself."""
        started, found = {process.pid for process in self.started}, []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (path / "environ").read_bytes() and int(path.name) not in started:
                    found.append(int(path.name))
            except OSError:
                continue
        return found

    def close(self) -> None:
        for process in self.started:
            process.kill()  # its children hang on it
            process.wait()
        eventually(lambda: not self.children(), 30, "the end of all processes")


@pytest.fixture
def controllers(tmp_path: Path, valkey_url: str, redis_client: Any) -> Iterator[Controllers]:
    if not Path("/proc").is_dir():
        pytest.skip("finds the processes by their environment, in /proc")
    made = Controllers(tmp_path, valkey_url, redis_client)
    yield made
    made.close()


@pytest.fixture
def app(our_app: Callable[..., OurApp]) -> Any:
    made = our_app(SLAQueueConfig("mail", admission="off"))
    made.send = made.actor(lambda: None, actor_name="send", queue_name="mail").send
    return made


def test_a_controller_works_with_no_worker_anywhere_and_survives_the_death_of_its_parts(
    controllers: Controllers, app: Any
) -> None:
    for _ in range(40):
        app.send()
    controller = controllers.start("--no-exporter")
    eventually(lambda: (found := controllers.decided()) and found.desired_workers >= 1, 40, "a decision")
    for part in (CONTROL, "scheduler"):
        [victim] = eventually(lambda part=part: controllers.ready(part), 20, part)
        os.kill(victim, signal.SIGKILL)
        killed_at = controllers.now()
        eventually(lambda part=part: len(controllers.ready(part)) == 2, 20, f"another {part}")
        # A tick of this minute that the server keeps is enough: nothing waits for the next minute.
        eventually(lambda at=killed_at: controllers.decided_after(at + INTERVAL), 70, "decisions after that")
    controller.terminate()
    assert controller.wait(20) == 0, controllers.logs()
    eventually(lambda: not controllers.children(), 10, "the end of its parts")
    assert "killed by SIGKILL" in controllers.logs()


def test_two_controllers_decide_as_often_as_one(controllers: Controllers, app: Any) -> None:
    app.send()
    controllers.start("--no-exporter")
    controllers.start("--no-exporter")
    eventually(lambda: len(controllers.ready(CONTROL)) == 2, 30, "two workers")
    eventually(controllers.decided, 40, "a decision")
    moments: list[float] = []
    deadline = time.monotonic() + 8 * INTERVAL
    while time.monotonic() < deadline:
        at = controllers.decided().decided_at
        if not moments or at != moments[-1]:
            moments.append(at)
        time.sleep(0.01)
    assert len(moments) > 2
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    assert min(gaps) > INTERVAL / 2


def test_once_prints_one_decision_and_starts_nothing(controllers: Controllers, app: Any) -> None:
    app.send()
    process = controllers.start("--once", "--json")
    assert process.wait(20) == 0, controllers.logs()
    assert '"queue": "mail"' in controllers.logs()
    assert controllers.decided() is not None
    assert controllers.children() == []


def test_the_ticks_of_a_minute_wait_on_the_server_where_no_death_of_a_worker_reaches_them(app: Any) -> None:
    begin = declare_scaling_actor(app.broker, controller=_Nobody)
    begin.send()
    worker = app.work(threads=1, queues={CONTROL})
    eventually(lambda: app.truth(CONTROL).accounts.done == 1, 20, "the minute's message")
    worker.stop()
    truth = app.truth(CONTROL)
    left = 60 - time.time() % 60
    # The minute may turn between the two looks.
    assert truth.delayed in range(int(left / 5) - 1, int(left / 5) + 2) or left > 59
    assert (truth.ready, truth.in_flight, truth.dead) == (0, 0, 0)
    assert truth.imbalance == 0


class _Nobody:
    def tick(self) -> None: ...

    def close(self) -> None: ...
