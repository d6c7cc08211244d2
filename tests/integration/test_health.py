"""`littleq health` of real workers: what it must not take for a hang, and what it must."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from littleq.config import SLAQueueConfig
from littleq.health.readings import read
from littleq.health.verdict import HUNG_SECONDS, judge
from tests.integration.worker_pods import COMMAND, WorkerPod, actors_of
from tests.servers import MakeServer, make_own_server
from tests.support import OurApp, eventually

__all__ = ["make_own_server"]


@pytest.fixture
def start(tmp_path: Path, valkey_url: str, redis_client: Any) -> Iterator[Callable[..., WorkerPod]]:
    made: list[WorkerPod] = []

    def start(*options: str, url: str = valkey_url, **more: Any) -> WorkerPod:
        made.append(WorkerPod(tmp_path / f"pod-{len(made)}", url, *options, **more))
        return made[-1]

    yield start
    for pod in made:
        pod.close()


@pytest.fixture
def app(our_app: Callable[..., OurApp]) -> Any:
    return actors_of(our_app(SLAQueueConfig("q", admission="off")))


def judged(pod: WorkerPod, after: float, *, live: bool = True) -> Any:
    """The verdict that a probe would give so many seconds from now, if nothing changed."""
    return judge(read(pod.folder / "pulse"), time.monotonic() + after, live=live)


def test_a_worker_that_imports_its_app_is_neither_dead_nor_ready(
    start: Callable[..., WorkerPod], tmp_path: Path
) -> None:
    (tmp_path / "pod-0").mkdir()
    (tmp_path / "pod-0" / "slow").touch()
    pod = start()
    code, said = eventually(lambda: (found := pod.health())[0] == 1 and found, 20, "the import")
    assert said.startswith("Not ready: process")
    assert "is starting, for" in said
    code, said = pod.health("--live")
    assert code == 0
    assert "is starting, for" in said
    (tmp_path / "pod-0" / "slow").unlink()
    pod.until_ready()
    assert pod.health() == (0, "Ready: 1 worker process, 0 jobs running.")


def test_a_job_that_keeps_python_s_lock_is_excused_and_a_stopped_process_is_not(
    start: Callable[..., WorkerPod], app: Any
) -> None:
    pod = start("-c", "2").until_ready()
    app.grip.send(3)
    eventually(lambda: pod.numbers("began"), 10, "the job")
    time.sleep(0.5)  # into the C call
    silent_since = pod.worker.heard_at
    assert judged(pod, HUNG_SECONDS + 60).ok, "well within its time limit of ten minutes"
    assert "past its time limit" in judged(pod, 700).reason
    assert pod.health()[0] == 0
    assert pod.worker.heard_at == silent_since, "it did keep the lock all the time"
    assert pod.numbers("ended") == []
    eventually(lambda: pod.numbers("ended"), 10, "its end")
    eventually(lambda: not pod.worker.jobs, 5, "its end is known")  # a running job would be excused
    assert pod.worker.heard_at > silent_since

    os.kill(pod.worker.pid, signal.SIGSTOP)
    assert pod.health("--live")[0] == 0, "not yet"
    found = judged(pod, HUNG_SECONDS + 1)
    assert not found.ok
    assert "hangs: it has given no sign for" in found.reason
    assert not judged(pod, 12, live=False).ok
    os.kill(pod.worker.pid, signal.SIGCONT)
    eventually(lambda: judged(pod, 0, live=False).ok, 10, "readiness again")


def test_a_broker_that_is_away_makes_not_ready_within_seconds_but_not_dead(
    start: Callable[..., WorkerPod], make_own_server: MakeServer
) -> None:
    server = make_own_server(tcp=True)
    pod = start("-c", "2", url=server.url).until_ready()
    server.kill()
    eventually(lambda: pod.health()[0] == 1, 12, "the probe's no")
    assert "queue 'q'" in pod.health()[1] or "waits for the broker" in pod.health()[1]
    assert pod.health("--live")[0] == 0
    server.start()
    eventually(lambda: pod.health()[0] == 0, 15, "readiness again")


def test_a_busy_worker_still_knows_whether_its_broker_is_there(
    start: Callable[..., WorkerPod], app: Any
) -> None:
    """With a full prefetch nobody fetches: it asks by itself."""
    pod = start("-c", "1").until_ready()
    for number in range(3):
        app.hold.send(number)
    eventually(lambda: pod.numbers("began") == [0], 10, "a job")
    before = pod.worker.answered_at
    eventually(lambda: pod.worker.answered_at > before + 3, 10, "another answer")
    assert pod.health() == (0, "Ready: 1 worker process, 1 job running.")


def test_a_killed_worker_is_a_failure_until_another_one_has_taken_its_place(
    start: Callable[..., WorkerPod], app: Any
) -> None:
    pod = start("-c", "1").until_ready()
    worker = pod.worker.pid
    os.killpg(pod.process.pid, signal.SIGKILL)
    pod.wait()
    assert pod.health("--live") == (
        1,
        f"Not alive: worker process {worker} has ended without a word: it was killed.",
    )
    again = WorkerPod(pod.folder, pod.environment["LITTLEQ_URL"])
    try:
        again.until_ready()
        assert [reading.pid == worker for reading in read(pod.folder / "pulse") if reading.kind == 1] == [
            False
        ]
    finally:
        again.close()


def test_the_controller_is_ready_with_its_worker_and_its_supervisor(
    start: Callable[..., WorkerPod], tmp_path: Path
) -> None:
    pod = start(command=("-c", COMMAND, "controller", "--no-exporter"))
    pod.until_ready()
    assert pod.health("--live")[0] == 0
    worker = pod.worker.pid
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: pod.health()[0] == 1, 10, "the probe's no")
    eventually(lambda: pod.health()[0] == 0 and pod.worker.pid != worker, 20, "another worker")
    pod.signal()
    assert pod.wait() == 0
    assert pod.health()[0] == 2
