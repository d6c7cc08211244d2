"""The thread beside the jobs: real threads, synchronised by events, never by sleeping."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from littleq.background import Background, at_process_exit, not_at_process_exit
from littleq.errors import BackendError

ROOT = Path(__file__).parents[2]
LONG = 3600.0  # an interval that no test waits for
SOON = 0.001
PATIENCE = 20.0  # s; only a failing test waits that long

InFork = Callable[[Callable[[], Any]], Any]


class Task:
    """Counts its runs and lets a test wait for them."""

    def __init__(self) -> None:
        self.runs = 0
        self.error: BaseException | None = None
        self.threads: list[threading.Thread] = []
        self._ran = threading.Semaphore(0)

    def __call__(self) -> None:
        self.runs += 1
        self.threads.append(threading.current_thread())
        self._ran.release()
        if self.error is not None:
            raise self.error

    def wait(self, runs: int = 1) -> None:
        for _ in range(runs):
            assert self._ran.acquire(timeout=PATIENCE), "the task did not run"


@pytest.fixture
def task() -> Task:
    return Task()


@pytest.fixture
def make(task: Task) -> Iterator[Callable[[float], Background]]:
    made: list[Background] = []

    def make_one(interval: float) -> Background:
        made.append(Background("test-background", interval, task))
        return made[-1]

    yield make_one
    for background in made:
        background.stop()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "test-background"]


def test_nothing_runs_before_the_first_use(make: Callable[[float], Background]) -> None:
    background = make(SOON)
    assert background.idle
    assert threads() == []


def test_importing_the_package_starts_no_thread() -> None:
    program = "import threading, littleq.ledger.recorder, littleq.depth; print(threading.active_count())"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "1"


def test_the_task_runs_again_and_again(make: Callable[[float], Background], task: Task) -> None:
    background = make(SOON)
    background.start()
    task.wait(runs=3)
    assert len(threads()) == 1
    assert threads()[0].daemon


def test_the_first_run_comes_after_one_interval(make: Callable[[float], Background], task: Task) -> None:
    background = make(LONG)
    background.start()
    background.stop()
    assert task.runs == 0


def test_starting_again_and_again_starts_one_thread(make: Callable[[float], Background]) -> None:
    background = make(LONG)
    starters = [threading.Thread(target=background.start) for _ in range(20)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    assert len(threads()) == 1


def test_wake_runs_the_task_now(make: Callable[[float], Background], task: Task) -> None:
    background = make(LONG)
    background.wake()
    task.wait()
    background.wake()
    task.wait()
    assert task.runs == 2


def test_a_failing_task_runs_on_and_is_logged_once_per_outage(
    make: Callable[[float], Background], task: Task, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "littleq.background")
    background = make(LONG)
    for error in (ValueError("broken"), ValueError("broken"), None, None, KeyError("again")):
        task.error = error
        background.wake()
        task.wait()
        background.stop()  # the run is over, and logged
    messages = [record.message for record in caplog.records]
    assert [message.split()[1] for message in messages] == ["fails;", "works", "fails;"]
    assert "broken" in caplog.text  # with its traceback


def test_stop_waits_for_the_task_that_runs() -> None:
    begun, finish, finished = threading.Event(), threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        finish.wait(PATIENCE)
        finished.set()

    background = Background("test-background", LONG, slow)
    background.wake()
    assert begun.wait(PATIENCE)
    stopper = threading.Thread(target=background.stop)
    stopper.start()
    finish.set()
    stopper.join(PATIENCE)
    assert finished.is_set()
    assert threads() == []


def test_stop_runs_the_task_once_more_in_the_calling_thread(
    make: Callable[[float], Background], task: Task
) -> None:
    background = make(LONG)
    background.start()
    background.stop(run_once_more=True)
    assert task.threads == [threading.current_thread()]
    assert background.idle


def test_a_task_may_stop_its_own_thread() -> None:
    stopped = threading.Event()

    def task() -> None:
        background.stop()
        stopped.set()

    background = Background("test-background", LONG, task)
    background.wake()
    assert stopped.wait(PATIENCE)


def test_a_stopped_one_can_be_started_again(make: Callable[[float], Background], task: Task) -> None:
    background = make(LONG)
    background.wake()
    task.wait()
    background.stop()
    assert threads() == []
    background.wake()
    task.wait()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_was_ended_by_force_is_replaced(
    make: Callable[[float], Background], task: Task
) -> None:
    """SystemExit stands for gevent's GreenletExit: no Exception."""
    background = make(LONG)
    task.error = SystemExit()
    background.wake()
    task.wait()
    task.threads[0].join(PATIENCE)
    assert background.idle
    task.error = None
    background.wake()
    task.wait()
    assert task.threads[1] is not task.threads[0]


def test_no_thread_to_be_had_is_no_error(
    make: Callable[[float], Background], task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    background = make(LONG)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        background.wake()
    assert background.idle
    background.wake()
    task.wait()


def test_a_forked_child_starts_its_own_thread(
    make: Callable[[float], Background], task: Task, in_fork: InFork
) -> None:
    background = make(LONG)
    background.wake()
    task.wait()

    def child() -> tuple[bool, int, int]:
        was_idle, before = background.idle, len(threads())
        background.wake()
        task.wait()
        return was_idle, before, len(threads())

    assert in_fork(child) == (True, 0, 1)
    assert not background.idle
    assert task.runs == 1  # the child's run is the child's


def test_a_fork_while_another_thread_holds_the_lock_does_not_deadlock(
    make: Callable[[float], Background], task: Task, in_fork: InFork
) -> None:
    background = make(LONG)

    def child() -> int:
        background.wake()
        task.wait()
        background.stop()
        return task.runs

    with background._lock:
        assert in_fork(child) == 1


EXIT_PROGRAM = """
import itertools, multiprocessing
from littleq.background import at_process_exit, not_at_process_exit

def at_exit():
    print(multiprocessing.current_process().name, flush=True)

def child():
    at_process_exit(at_exit)
    at_process_exit(at_exit)

def quiet_child():
    at_process_exit(at_exit)
    not_at_process_exit(at_exit)

if __name__ == "__main__":
    at_process_exit(at_exit)
    for method, target in itertools.product(("fork", "spawn"), (child, quiet_child)):
        name = f"{method}_{target.__name__}"
        process = multiprocessing.get_context(method).Process(target=target, name=name)
        process.start()
        process.join()
"""


def test_what_is_registered_runs_once_when_its_process_ends_however_that_was_made(tmp_path: Path) -> None:
    program = tmp_path / "program.py"  # `spawn` imports it again
    program.write_text(EXIT_PROGRAM)
    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.split() == ["fork_child", "spawn_child", "MainProcess"]


def test_what_was_never_registered_can_be_unregistered() -> None:
    not_at_process_exit(print)
    at_process_exit(print)
    not_at_process_exit(print)


def test_a_server_that_is_away_is_one_line_without_a_traceback(
    make: Callable[[float], Background], task: Task, caplog: pytest.LogCaptureFixture
) -> None:
    background = make(LONG)
    task.error = BackendError("The server is away: start it.")
    background.wake()
    task.wait()
    background.stop()
    (record,) = caplog.records
    assert record.levelname == "WARNING" and not record.exc_info
    assert "fails (The server is away: start it.); it is tried again every" in record.getMessage()
