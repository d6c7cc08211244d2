"""How a worker in a pod ends: what becomes of its jobs, how soon, and what it says."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dramatiq import Message

from littleq.config import SLAQueueConfig
from tests.integration.worker_pods import WorkerPod, actors_of
from tests.support import OurApp, eventually

#: Plain Dramatiq, with the same app: what LittleQ brings comes with `littleq.setup`.
PLAIN = ("-m", "dramatiq", "pod_app", "--processes", "1", "--queues", "q")


@pytest.fixture
def app(our_app: Callable[..., OurApp]) -> Any:
    return actors_of(our_app(SLAQueueConfig("q", admission="off")))


@pytest.fixture
def start(tmp_path: Path, valkey_url: str, redis_client: Any) -> Iterator[Callable[..., WorkerPod]]:
    made: list[WorkerPod] = []

    def start(*options: str, **more: Any) -> WorkerPod:
        made.append(WorkerPod(tmp_path / f"pod-{len(made)}", valkey_url, *options, **more))
        return made[-1]

    yield start
    for pod in made:
        pod.close()


def ready_numbers(app: OurApp) -> list[int]:
    """The ready jobs in the order in which workers will get them; none has been retried."""
    ids = app.client.lrange("dramatiq:q", 0, -1)
    found = [Message.decode(data) for data in app.client.hmget("dramatiq:q.msgs", ids) if data] if ids else []
    assert all(message.options.get("retries", 0) == 0 for message in found)
    return [message.args[0] for message in found]


def charged(app: OurApp) -> list[int]:
    return [int(value) for value in app.client.hvals("littleq:dramatiq:q:deliveries")]


def busy(app: Any, pod: WorkerPod) -> None:
    """One job runs, one is prefetched, one is ready."""
    for number in range(3):
        app.hold.send(number)
    eventually(lambda: pod.numbers("began") == [0], 20, "the first job")
    eventually(lambda: app.truth().in_flight == 2, 10, "the prefetched one")


def test_an_idle_worker_ends_at_once_and_says_so(start: Callable[..., WorkerPod], app: Any) -> None:
    pod = start("-c", "2", "--grace", "30s").until_ready()
    told = time.monotonic()
    pod.signal()
    assert pod.wait() == 0
    assert (
        time.monotonic() - told < 10
    )  # of 30 s grace; Dramatiq looks once a second, and so does its consumer
    assert pod.why == "Drained: every job that ran is done, 0 jobs went back to the queue."
    assert list((pod.folder / "pulse").iterdir()) == []
    code, said = pod.health()
    assert code == 2
    assert "start one with `littleq worker`" in said


@pytest.mark.parametrize("command", [None, (*PLAIN, "--threads", "1")], ids=["littleq worker", "dramatiq"])
def test_from_the_signal_on_no_job_is_taken_and_running_ones_finish(
    start: Callable[..., WorkerPod], app: Any, command: Any
) -> None:
    pod = start("-c", "1", "--grace", "30s", command=command).until_ready()
    busy(app, pod)
    os.kill(pod.worker.pid, signal.SIGSTOP)  # a worker that notices late must not fetch late
    pod.signal()
    app.hold.send(3)
    os.kill(pod.worker.pid, signal.SIGCONT)
    told = time.monotonic()
    eventually(lambda: ready_numbers(app) == [1, 2, 3], 10, "the return of the prefetched job to the head")
    assert time.monotonic() - told < 2.0  # measured: 0.03 s; stock Dramatiq: when the running job has ended
    code, said = pod.health()
    assert code == 1
    assert "is stopping" in said
    assert pod.health("--live")[0] == 0
    pod.go(0)
    assert pod.wait() == 0
    assert (pod.numbers("began"), pod.numbers("ended")) == ([0], [0])
    assert pod.why == "Drained: every job that ran is done, 1 job went back to the queue."
    truth = app.truth()
    assert (truth.accounts.done, truth.ready, truth.in_flight, truth.imbalance) == (1, 3, 0, 0)
    assert charged(app) == []


@pytest.mark.parametrize(
    "command",
    [None, (*PLAIN, "--threads", "1", "--worker-shutdown-timeout", "1000")],
    ids=["littleq worker", "dramatiq"],
)
def test_what_outlasts_the_grace_period_goes_back_to_the_head_uncharged(
    start: Callable[..., WorkerPod], app: Any, command: Any
) -> None:
    pod = start("-c", "1", "--grace", "1s", command=command).until_ready()
    busy(app, pod)
    pod.signal()
    assert pod.wait() == 1
    assert ready_numbers(app) == [0, 1, 2], "it was back before the process had ended"
    assert charged(app) == []
    assert app.truth().imbalance == 0
    assert pod.why == "Cut short: 1 job went back to the queue, for the grace period was over."


def test_a_killed_worker_s_job_comes_back_at_once_and_is_charged(
    start: Callable[..., WorkerPod], app: Any
) -> None:
    """As the kernel does where memory runs out: the biggest process goes, and Dramatiq's main process stays."""
    pod = start("-c", "1", "--grace", "30s").until_ready()
    busy(app, pod)
    worker = pod.worker.pid
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: sorted(ready_numbers(app)) == [0, 1, 2], 5, "the return of the jobs")
    assert charged(app) == [1], "the one that ran is a suspect"
    assert pod.wait() == 1
    assert pod.why.startswith(f"Worker process {worker} was killed while it ran 1 job (out of memory?)")


def test_a_second_signal_cuts_the_grace_period_short(start: Callable[..., WorkerPod], app: Any) -> None:
    pod = start("-c", "1", "--grace", "60s").until_ready()
    busy(app, pod)
    pod.signal()
    os.kill(pod.worker.pid, signal.SIGTERM)  # as systemd does: each process of a unit is told
    eventually(lambda: "Shutting down" in pod.log(), 10, "the first stage")
    time.sleep(2.0)  # until a signal counts as a second one
    assert pod.process.poll() is None, "the same signal twice is one"
    pod.signal()
    assert pod.wait() == 1
    eventually(lambda: ready_numbers(app) == [0, 1, 2], 5, "the return of the jobs")
    assert charged(app) == []
    assert pod.why == "Cut short: 1 job went back to the queue, for a second signal came."


def test_a_signal_during_the_import_is_not_lost(
    start: Callable[..., WorkerPod], app: Any, tmp_path: Path
) -> None:
    (tmp_path / "pod-0").mkdir()
    (tmp_path / "pod-0" / "slow").touch()
    pod = start("--grace", "5s")
    eventually(lambda: pod.health()[0] == 1, 20, "the import")
    pod.signal()
    assert pod.wait() == 0
    assert pod.health()[0] == 2


def test_bad_input_is_said_to_the_terminal_and_to_kubernetes(
    start: Callable[..., WorkerPod], app: Any
) -> None:
    pod = start("-q", "nowhere")
    assert pod.wait() == 2
    assert "No queue is called 'nowhere'; known queues: q." in pod.why
    assert pod.why in pod.log()
    assert pod.health()[0] == 2


@pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/usr/bin/unshare").exists(), reason="needs root and unshare"
)
def test_as_the_first_process_of_a_container_it_loses_no_job_either(
    start: Callable[..., WorkerPod], app: Any
) -> None:
    """When the first process has ended, the kernel kills all others, the watcher too: jobs must be back before."""
    import sys

    inner = (sys.executable, "-c", "from littleq.cli import main; main()", "worker", "pod_app", "-q", "q")
    command = "['unshare', '--pid', '--fork', '--kill-child', *sys.argv[1:]]"
    script = f"import os, sys; os.execv('/usr/bin/unshare', {command})"
    pod = start(command=("-c", script, *inner, "-c", "1", "--grace", "1s"))
    pod.until_ready()
    busy(app, pod)
    [first] = Path(f"/proc/{pod.process.pid}/task/{pod.process.pid}/children").read_text().split()
    os.kill(int(first), signal.SIGTERM)
    assert pod.wait() == 1
    assert ready_numbers(app) == [0, 1, 2]
    assert charged(app) == []
