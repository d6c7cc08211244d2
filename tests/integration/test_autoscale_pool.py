"""The elastic pool with real worker processes on a real server: what scaling down must never do to a job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dramatiq import Message

from littleq.autoscale.pool.child import Work
from littleq.autoscale.pool.plan import State
from littleq.autoscale.pool.processes import Launcher, Process
from littleq.autoscale.pool.sight import Desired, Lookout, Sight
from littleq.autoscale.pool.supervisor import Group, Supervisor
from littleq.config import SLAQueueConfig
from littleq.ledger.redis import RedisLedger
from tests.conftest import free_port
from tests.support import ROOT, OurApp, eventually

#: `hold(n)` runs until there is a file `go-n`; every begin and end is a line of its own file.
APP = """
import os, time
from pathlib import Path
import dramatiq, littleq
from littleq import SLAQueueConfig

littleq.setup(url=os.environ["TEST_URL"], exporter_enabled=False, flush_seconds=0.2, queues=[
    SLAQueueConfig("q", admission="off", min_backoff_seconds=0.1, max_backoff_seconds=0.2),
])
FOLDER = Path(os.environ["TEST_FOLDER"])

def note(what, number):
    with (FOLDER / what).open("a") as file:
        file.write(f"{number} {os.getpid()}\\n")

@dramatiq.actor(queue_name="q")
def hold(number):
    note("began", number)
    while not (FOLDER / f"go-{number}").exists():
        time.sleep(0.02)
    note("ended", number)

@dramatiq.actor(queue_name="q")
def quick(number):
    time.sleep(0.01)
    note("ended", number)
"""
BROKEN = "raise RuntimeError('this app cannot be imported')"


class Pool:
    """A supervisor in this process, driven step by step, with decisions by the test."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        (folder / "app.py").write_text(APP)
        (folder / "broken.py").write_text(BROKEN)
        self.decided: dict[str, int] = {}
        self.waiting: Callable[[], frozenset[str]] = frozenset
        self.environment = {
            **os.environ,
            "PYTHONPATH": f"{folder}:{ROOT}",
            "TEST_URL": url,
            "TEST_FOLDER": str(folder),
        }
        self.said: list[str] = []
        self.supervisor: Supervisor

    def start(self, *groups: Group) -> None:
        launcher = Launcher(self.environment, self.said.append)
        self.supervisor = Supervisor(groups, launcher, sight=self.sight, wake_seconds=60.0)

    def start_q(self, *, threads: int = 1, grace: float = 30.0, most: int = 4) -> None:
        """Workers of the queue `q`."""
        self.start(Group("q", Work(["app"], "q", threads, grace), 0, most, scales=True))

    def sight(self) -> Sight:
        decisions = {queue: Desired(workers) for queue, workers in self.decided.items()}
        return Sight(decisions, self.waiting(), time.monotonic())

    def until(self, check: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
        def step_and_check() -> Any:
            self.supervisor.step()
            return check()

        return eventually(step_and_check, seconds, what)

    def scale(self, queue: str, workers: int) -> None:
        """Decide, and wait until so many are ready and no other is left but such as are stopping."""
        self.decided[queue] = workers
        self.until(
            lambda: (self.count("ready"), self.count("starting")) == (workers, 0), f"{workers} workers"
        )

    def count(self, state: State) -> int:
        return sum(process.state == state for process in self.processes)

    @property
    def processes(self) -> list[Process]:
        return [process for _, process in self.supervisor.processes]

    def lines(self, name: str) -> list[tuple[int, int]]:
        """Number and pid of what began, or ended."""
        try:
            lines = (self.folder / name).read_text().splitlines()
        except FileNotFoundError:
            return []
        return [(int(number), int(pid)) for number, pid in map(str.split, lines)]

    def begun(self) -> set[int]:
        return {number for number, _ in self.lines("began")}

    def go(self, number: int) -> None:
        (self.folder / f"go-{number}").touch()

    def close(self) -> None:
        if hasattr(self, "supervisor"):
            self.supervisor.kill()
            self.until(lambda: self.supervisor.is_over, "the end of the pool")


@pytest.fixture
def pool(tmp_path: Path, valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    monkeypatch.syspath_prepend(tmp_path)  # workers have this process's path
    made = Pool(tmp_path, valkey_url)
    yield made
    made.close()


@pytest.fixture
def app(our_app: Callable[..., OurApp]) -> Any:
    """The same app in this process, to send with and to look at."""
    made = our_app(SLAQueueConfig("q", admission="off"))
    made.hold = made.actor(lambda number: None, actor_name="hold", queue_name="q")
    made.quick = made.actor(lambda number: None, actor_name="quick", queue_name="q")
    return made


def charged(app: OurApp) -> dict[str, int]:
    """Deliveries and retries that jobs were charged with."""
    deliveries = app.client.hgetall("littleq:dramatiq:q:deliveries")
    return {key.decode(): int(value) for key, value in deliveries.items()}


def ready_numbers(app: OurApp) -> list[int]:
    """The ready jobs, in the order in which workers will get them; none has been retried."""
    ids = app.client.lrange("dramatiq:q", 0, -1)
    found = [Message.decode(data) for data in app.client.hmget("dramatiq:q.msgs", ids) if data] if ids else []
    assert all(message.options.get("retries", 0) == 0 for message in found)
    return [message.args[0] for message in found]


def test_a_stopped_worker_finishes_its_job_and_gives_back_the_others_at_once(pool: Pool, app: Any) -> None:
    pool.start_q()
    for number in range(5):
        app.hold.send(number)
    pool.scale("q", 1)
    pool.until(lambda: app.truth().in_flight == 2, "a job that runs and one that is prefetched")
    assert pool.begun() == {0}

    pool.decided["q"] = 0
    pool.until(lambda: ready_numbers(app) == [1, 2, 3, 4], "the return of the prefetched one to the head")
    assert app.truth().in_flight == 1, "the job that runs is still held"
    assert [process.state for process in pool.processes] == ["stopping"]
    ledger = RedisLedger(app.client)
    eventually(
        lambda: ledger.snapshot().worker_processes("q") == 0, 5, "a fleet without it: it serves nobody"
    )

    pool.go(0)
    pool.until(lambda: not pool.processes, "the end of the worker")
    assert [number for number, _ in pool.lines("ended")] == [0]
    truth = app.truth()
    assert (truth.accounts.done, truth.ready, truth.in_flight, truth.imbalance) == (1, 4, 0, 0)
    assert charged(app) == {}
    assert pool.supervisor.crews["q"].deaths == 0


def test_a_job_that_outlives_the_grace_period_goes_back_uncharged(pool: Pool, app: Any) -> None:
    pool.start_q(grace=1.0)
    app.hold.send(0)
    app.hold.send(1)
    pool.scale("q", 1)
    pool.until(lambda: pool.begun() == {0}, "the job")
    pool.decided["q"] = 0
    pool.until(lambda: not pool.processes, "the end of the worker")
    eventually(lambda: ready_numbers(app) == [0, 1], 10, "the return of the job to the head")
    assert charged(app) == {}, "a worker that was told to stop is no fault of its job"
    assert app.truth().imbalance == 0
    assert any("did not end within 1 s" in line for line in pool.said)


def test_a_job_that_kills_its_worker_is_still_charged(pool: Pool, app: Any) -> None:
    """The other side of the test above: nobody is acquitted who is not told to stop."""
    pool.start_q()
    app.hold.send(0)
    pool.scale("q", 1)
    pool.until(lambda: pool.begun() == {0}, "the job")
    os.kill(pool.processes[0].pid, signal.SIGKILL)
    pool.until(lambda: list(charged(app).values()) == [1], "the charge")
    pool.until(lambda: len(pool.lines("began")) == 2, "the same job in another worker")
    pool.go(0)
    pool.until(lambda: app.truth().accounts.done == 1, "the end of the job")
    assert pool.supervisor.crews["q"].deaths == 1


def test_an_idle_worker_goes_before_a_busy_one(pool: Pool, app: Any) -> None:
    pool.start_q()
    pool.scale("q", 3)
    app.hold.send(0)
    pool.until(lambda: pool.begun() == {0}, "the job")
    [(_, busy)] = pool.lines("began")
    pool.until(
        lambda: any(process.running for process in pool.processes), "a worker that says that it is busy"
    )
    pool.decided["q"] = 1
    pool.until(lambda: len(pool.processes) == 1, "the end of two workers")
    assert [process.pid for process in pool.processes] == [busy]
    assert pool.processes[0].state == "ready"
    pool.go(0)
    pool.until(lambda: app.truth().accounts.done == 1, "the end of the job")


def test_scaling_up_and_down_and_kills_lose_nothing(pool: Pool, app: Any) -> None:
    jobs, kills = 600, 3
    pool.start_q(threads=2)
    pool.scale("q", 2)
    sender = threading.Thread(target=lambda: [app.quick.send(number) for number in range(jobs)])
    sender.start()
    for round_number, workers in enumerate((4, 1, 3, 0, 2, 1, 4)):
        pool.decided["q"] = workers
        done = app.truth().accounts.done
        enough = min(jobs, done + jobs // 12) if workers else done
        pool.until(lambda enough=enough: app.truth().accounts.done >= enough, "some work")
        if round_number < kills and (ready := [p for p in pool.processes if p.state == "ready"]):
            os.kill(ready[0].pid, signal.SIGKILL)
    sender.join()
    pool.until(lambda: app.truth().accounts.done == jobs, "the end of all jobs")
    assert app.truth().imbalance == 0
    assert app.idle()
    times = Counter(number for number, _ in pool.lines("ended"))
    assert set(times) == set(range(jobs))
    # At least once: what a killed process had done and not told yet runs again, nothing else does.
    assert sum(times.values()) - jobs <= kills * 8


def test_a_waiting_job_wakes_a_queue_that_has_no_worker(pool: Pool, app: Any) -> None:
    """At once or when a delayed one is due; decided is 0 all the time, for nobody has seen the job yet."""
    pool.start_q()
    pool.decided["q"] = 0
    lookout = Lookout(
        dict, app.backend.inspector, pool.supervisor.empty, lambda: pool.supervisor.start_seconds
    )
    pool.waiting = lambda: lookout().waiting
    pool.supervisor.step()
    lookout.look()
    assert lookout().waiting == frozenset()
    app.quick.send_with_options(args=(1,), delay=60_000)
    lookout.look()
    assert lookout().waiting == frozenset(), "it is due in a minute, a worker needs a second"
    app.quick.send_with_options(args=(2,), delay=1)
    eventually(lambda: lookout.look() or lookout().waiting, 10, "the due job")
    pool.until(lambda: [number for number, _ in pool.lines("ended")] == [2], "the due job's end")
    assert len(pool.processes) == 1
    lookout.look()
    assert lookout().waiting == frozenset(), "only queues without a worker are looked at"
    app.broker.client.flushall()


def test_a_crash_loop_neither_spins_nor_starves_others(pool: Pool, app: Any) -> None:
    pool.decided |= {"q": 2, "broken": 4}
    pool.start(
        Group("broken", Work(["broken"], "broken", 1, 1.0), 0, 4, scales=True),
        Group("q", Work(["app"], "q", 1, 5.0), 0, 4, scales=True),
    )
    crews = {}
    pool.until(lambda: crews.update(pool.supervisor.crews) or crews["broken"].deaths >= 3, "three deaths")
    pool.until(lambda: crews["q"].count("ready") == 2, "the workers of the other queue")
    assert len(crews["broken"].processes) <= 1, "one is tried at a time"
    assert crews["broken"].backoff.pause >= 2.0
    assert any("RuntimeError: this app cannot be imported" in line for line in pool.said)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the fork server in /proc")
def test_a_killed_fork_server_takes_no_job_along(pool: Pool, app: Any) -> None:
    pool.start_q(grace=60.0)  # a slow machine must not cut job 0 short before the next worker is there
    for number in range(4):
        app.hold.send(number)
    pool.scale("q", 1)
    pool.until(lambda: pool.begun() == {0}, "a running job")
    worker = pool.processes[0].pid
    os.kill(_parent(worker), signal.SIGKILL)
    pool.until(lambda: pool.count("ready") == 1 and pool.processes[0].pid != worker, "another worker")
    pool.until(lambda: len(pool.begun()) == 2, "the next job in it")
    for number in range(4):
        pool.go(number)
    pool.until(lambda: app.truth().accounts.done == 4, "the end of all jobs")
    assert [number for number, _ in sorted(pool.lines("ended"))] == [0, 1, 2, 3], "each ran once"
    assert app.truth().imbalance == 0
    eventually(lambda: not _is_alive(worker), 20, "the end of the worker that nobody looked after")


def _parent(pid: int) -> int:
    return int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])


SUPERVISOR = """
import sys, time
from littleq.autoscale.pool.processes import Launcher
from littleq.autoscale.pool.child import Work
from littleq.autoscale.pool.sight import Desired, Sight
from littleq.autoscale.pool.loop import Signals, run
from littleq.autoscale.pool.supervisor import Group, Supervisor

if __name__ == "__main__":
    group = Group("q", Work(["app"], "q", 1, float(sys.argv[1])), 0, 4, scales=True)
    signals = Signals()
    sight = lambda: Sight({"q": Desired(2)}, frozenset(), time.monotonic())
    supervisor = Supervisor([group], Launcher(), sight=sight)

    def fail() -> None:
        if len(sys.argv) > 2 and supervisor.crews["q"].count("ready") == 2:
            raise ZeroDivisionError

    sys.exit(run(supervisor, signals, fail))
"""


class OtherSupervisor:
    """One in a process of its own."""

    def __init__(self, pool: Pool, grace: float, *options: str) -> None:
        (pool.folder / "supervise.py").write_text(SUPERVISOR)
        self.log = pool.folder / "supervisor.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "supervise.py", str(grace), *options],
                cwd=pool.folder,
                env=pool.environment,
                start_new_session=True,
                stderr=log,
            )

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the workers by their environment")
def test_workers_do_not_outlive_a_supervisor_that_was_killed_and_no_job_is_lost(pool: Pool, app: Any) -> None:
    for number in range(6):
        app.hold.send(number)
    other = OtherSupervisor(pool, grace=1.0)
    try:
        eventually(lambda: len(pool.begun()) == 2, 30, "two running jobs")
        pids = {pid for _, pid in pool.lines("began")}
        other.process.kill()
        pool.go(0)  # one of them ends in time, the other one does not
        eventually(lambda: not any(map(_is_alive, pids)), 20, "the end of the workers")
    finally:
        other.close()
    eventually(lambda: app.truth().in_flight + app.truth().orphaned == 0, 10, "the return of the jobs")
    truth = app.truth()
    assert (truth.ready, truth.accounts.done, truth.imbalance) == (5, 1, 0)
    assert charged(app) == {}


def _is_alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_second_signal_ends_all_at_once_and_still_no_job_is_lost(pool: Pool, app: Any) -> None:
    for number in range(4):
        app.hold.send(number)
    other = OtherSupervisor(pool, grace=60.0)
    try:
        eventually(lambda: len(pool.begun()) == 2, 30, "two running jobs")
        os.killpg(other.process.pid, signal.SIGINT)  # as a terminal does
        eventually(lambda: "Shutting down" in other.log.read_text(), 10, "the first stage")
        assert other.process.poll() is None
        os.killpg(other.process.pid, signal.SIGINT)
        assert other.process.wait(15) == signal.SIGINT
    finally:
        other.close()
    eventually(lambda: app.truth().ready == 4, 10, "the return of the jobs")
    assert app.truth().imbalance == 0


def test_a_supervisor_that_fails_waits_for_no_worker_that_waits_for_it(pool: Pool, app: Any) -> None:
    other = OtherSupervisor(pool, 5.0, "fail")
    try:
        assert other.process.wait(40) == 1
    finally:
        other.close()
    assert "ZeroDivisionError" in other.log.read_text()
    assert other.log.read_text().count("The supervisor is gone: stopping.") == 2


SETTINGS = """
url = "{url}"
decide_seconds = 1
flush_seconds = 0.2

[exporter]
port = {port}

[queues.q]
sla_seconds = 2
admission = "off"
service_time_seconds = 0.2
threads_per_worker = 1
startup_seconds = 1
min_workers = 0
max_workers = 3
"""
SLEEPER = """
import time
import dramatiq, littleq

littleq.setup()

@dramatiq.actor(queue_name="q")
def nap():
    time.sleep(0.2)
"""


def test_up_is_a_whole_autoscaled_system(tmp_path: Path, valkey_url: str, app: Any) -> None:
    """Jobs, controller, pool, exporter, by one command: from none to all the workers that there may be.

    Back to none it goes too, but not within the first minute of a queue; the demo shows that way.
    """
    port = free_port()
    (tmp_path / "littleq.toml").write_text(SETTINGS.format(url=valkey_url, port=port))
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    nap = app.actor(lambda: None, actor_name="nap", queue_name="q")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LITTLEQ_")}
    log = tmp_path / "up.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", "from littleq.cli import main; main()", "up", "sleeper"],
            cwd=tmp_path,
            env={**environment, "PYTHONPATH": str(ROOT)},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    ledger = RedisLedger(app.client)

    def workers() -> int:
        return ledger.snapshot().worker_processes("q")

    try:
        eventually(lambda: b"Serving the fleet's metrics" in log.read_bytes(), 40, "the exporter")
        assert workers() == 0
        for _ in range(60):
            nap.send()
        eventually(lambda: workers() == 3, 40, "three workers")
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
        assert 'sla_desired_workers{queue="q"} 3.0' in metrics
        eventually(lambda: app.truth().accounts.done == 60, 40, "the end of the jobs")
        process.terminate()
        assert process.wait(20) == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
    assert app.truth().imbalance == 0
    assert charged(app) == {}
    assert b"Traceback" not in log.read_bytes(), log.read_text()
