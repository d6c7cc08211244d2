"""What a worker process does about signals, and what it takes for its app's broker."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import dramatiq
import pytest

from littleq.autoscale.pool.child import Stopping, load
from littleq.autoscale.pool.leash import QUESTION, READY, Leash
from littleq.autoscale.pool.processes import Process
from littleq.testing import ManualClock

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def stopping() -> Iterator[Stopping]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield Stopping()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_wait_and_ctrl_c_is_not_ours_to_hear(stopping: Stopping, number: int) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), number)
    stopping.wait()


def test_a_second_signal_at_the_same_moment_is_the_same_one(stopping: Stopping) -> None:
    """systemd tells every process of a unit, and then the supervisor tells its workers."""
    calls: list[str] = []
    stopping.cut_short_by(lambda: calls.append("end"), after=3600)
    os.kill(os.getpid(), signal.SIGTERM)
    assert calls == []
    stopping.cut_short_by(lambda: calls.append("end"), after=0)
    os.kill(os.getpid(), signal.SIGTERM)
    assert calls == ["end"]


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "pool_app_under_test.py").write_text(
        "import dramatiq\nfrom dramatiq.brokers.stub import StubBroker\n"
        "broker = StubBroker()\nother = StubBroker()\n"
        "dramatiq.set_broker(broker)\n"
        "def make(): dramatiq.set_broker(other)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = dramatiq.get_broker()
    yield
    dramatiq.set_broker(before)


@pytest.mark.usefixtures("app")
def test_an_app_s_broker_is_found_as_dramatiq_finds_it() -> None:
    import pool_app_under_test as module  # type: ignore[import-not-found]

    assert load(["pool_app_under_test"]) is module.broker
    assert load(["pool_app_under_test:other"]) is module.other
    assert load(["pool_app_under_test:make"]) is module.other
    with pytest.raises(ImportError, match="does not define 'brokre'"):
        load(["pool_app_under_test:brokre"])


class _Living:
    pid = 1

    def poll(self) -> None:
        return None


def test_what_a_process_says_arrives_in_pieces_or_at_once() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    process = Process(1, _Living(), ours, started_at=0.0, grace=1.0)
    assert process.listen(0.0) is False
    theirs.send(READY[:3])
    assert process.listen(1.0) is False
    theirs.send(READY[3:] + b"2 5\n3")
    assert process.listen(2.0) is True
    assert (process.state, process.ready_at, process.running, process.held) == ("ready", 2.0, 2, 5)
    theirs.send(b" 6\n")
    assert process.listen(3.0) is False
    assert (process.running, process.held) == (3, 6)
    theirs.close()
    process.listen(4.0)
    assert not process.is_listening
    ours.close()


def test_who_does_not_answer_is_taken_for_busy_until_it_does() -> None:
    clock = ManualClock()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    process = Process(1, _Living(), ours, started_at=clock.monotonic(), grace=1.0, state="ready")
    process.ask(clock.monotonic())
    assert theirs.recv(64) == QUESTION
    assert process.view(clock.monotonic()).running == 0
    clock.advance(1.5)
    assert process.view(clock.monotonic()).running is None
    process.ask(clock.monotonic())
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        theirs.recv(64)  # one question at a time
    theirs.send(b"0 0\n")
    process.listen(clock.monotonic())
    assert process.view(clock.monotonic()).running == 0
    ours.close()
    theirs.close()


def test_a_child_answers_how_busy_it_is() -> None:
    ours, theirs = socket.socketpair()
    leash = Leash(theirs, busyness=lambda: (2, 5), grace=1e9)  # it would end this process after that
    leash.slip()  # at its end it must not signal this very process
    leash.hold()
    leash.ready()
    ours.settimeout(10)
    assert ours.recv(64) == READY
    ours.send(QUESTION)
    assert ours.recv(64) == b"2 5\n"
