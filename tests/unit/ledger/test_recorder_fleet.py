"""What a process tells the fleet about itself, what it hears of it, what it hands down to its children."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from littleq.errors import ValidationError
from littleq.ledger import fields
from littleq.ledger.base import PRESENCE_SECONDS, Batch, Presence
from littleq.ledger.fleet import FORGET_SECONDS, fleet_view
from littleq.ledger.memory import MemoryLedger
from littleq.ledger.recorder import SETTINGS_SECONDS, Recorder
from littleq.testing import ManualClock

InFork = Callable[[Callable[[], Any]], Any]


# --- workers and settings ---


def test_a_worker_says_with_every_flush_that_it_lives(
    recorder: Recorder, ledger: Any, clock: ManualClock, worker: Presence
) -> None:
    recorder.attend(worker)
    recorder.flush()
    for _ in range(3):
        clock.advance(PRESENCE_SECONDS - 1)
        recorder.flush()
    assert ledger.snapshot().servers("default") == 8
    assert ledger.snapshot().workers[0].writer == recorder.writer


def test_a_worker_that_learns_of_a_queue_says_so(recorder: Recorder, ledger: Any, worker: Presence) -> None:
    recorder.attend(worker)
    recorder.flush()
    recorder.attend(Presence.here(threads=8, queues=["default", "mail"], started_at=0.0))
    recorder.flush()
    assert ledger.snapshot().servers("mail") == 8
    assert len(ledger.snapshot().workers) == 1


def test_a_worker_flushes_often_enough_to_seem_alive(
    make_recorder: Callable[..., Recorder], ledger: Any, worker: Presence
) -> None:
    recorder = make_recorder(ledger, flush_seconds=60.0)
    recorder.attend(worker)
    assert recorder._background.interval_seconds <= PRESENCE_SECONDS / 3


def test_a_worker_that_leaves_is_gone_with_the_next_flush(
    recorder: Recorder, ledger: Any, worker: Presence
) -> None:
    recorder.attend(worker)
    recorder.flush()
    recorder.leave()
    recorder.flush()
    assert ledger.snapshot().workers == ()


def test_a_worker_that_leaves_during_an_outage_is_gone_after_it(
    recorder: Recorder, ledger: Any, worker: Presence
) -> None:
    """The batch that was held when it left must not bring it back."""
    recorder.attend(worker)
    recorder.count("default", "done")
    recorder.flush()
    ledger.go_away()
    recorder.count("default", "done")
    recorder.flush()
    recorder.leave()
    assert not recorder.flush()
    ledger.come_back()
    assert recorder.flush()
    assert ledger.snapshot().workers == ()
    assert ledger.totals() == {"done": 2}


def test_settings_are_published_once_and_again_when_they_change(recorder: Recorder, ledger: Any) -> None:
    recorder.declare("default", {"sla_seconds": 1.0, "sla_on": "wait"})
    recorder.declare("default", {"queue_limit": 20})
    recorder.flush()
    assert ledger.snapshot().queue("default").settings == {
        "sla_seconds": 1.0,
        "sla_on": "wait",
        "queue_limit": 20,
    }
    recorder.declare("default", {"queue_limit": 20})
    recorder.flush()
    assert len(ledger.batches) == 1
    recorder.declare("default", {"queue_limit": 30})
    recorder.flush()
    assert ledger.snapshot().queue("default").settings["queue_limit"] == 30


def test_settings_are_said_again_to_a_ledger_that_may_have_lost_them(
    recorder: Recorder, ledger: Any, clock: ManualClock
) -> None:
    recorder.declare("default", {"sla_seconds": 1.0})
    recorder.flush()
    ledger._queues.clear()
    clock.advance(SETTINGS_SECONDS - 1)
    recorder.flush()
    assert "default" not in ledger.snapshot().queues
    clock.advance(1.0)
    recorder.flush()
    assert ledger.snapshot().queue("default").settings == {"sla_seconds": 1.0}


def test_a_setting_that_no_ledger_could_keep_is_refused(recorder: Recorder) -> None:
    with pytest.raises(ValidationError, match="queue 'default'"):
        recorder.declare("default", {"throws": ValueError})  # type: ignore[dict-item]


def test_settings_declared_during_an_outage_are_published_after_it(recorder: Recorder, ledger: Any) -> None:
    ledger.go_away()
    recorder.declare("default", {"sla_seconds": 1.0})
    recorder.flush()
    recorder.declare("mail", {"sla_seconds": 2.0})
    recorder.flush()
    ledger.come_back()
    recorder.flush()
    assert ledger.snapshot().queue("default").settings == {"sla_seconds": 1.0}
    assert ledger.snapshot().queue("mail").settings == {"sla_seconds": 2.0}


# --- the fleet ---


def test_the_fleet_is_unknown_until_it_was_read_and_asking_does_no_io(
    recorder: Recorder, ledger: Any
) -> None:
    assert recorder.fleet("default") is None
    assert recorder.fleet("default") is None
    assert ledger.reads == 0
    recorder._tick()
    assert recorder.fleet("default") is not None
    assert ledger.reads == 1


def test_a_question_about_a_new_queue_wakes_the_thread_once(recorder: Recorder) -> None:
    recorder.fleet("default")
    recorder.fleet("default")
    assert recorder._background.woken == 1  # type: ignore[attr-defined]
    recorder.fleet("mail")
    assert recorder._background.woken == 2  # type: ignore[attr-defined]


def test_a_view_tells_what_the_fleet_does(
    recorder: Recorder, ledger: Any, clock: ManualClock, worker: Presence
) -> None:
    other = Presence("other", "host", 1, threads=4, queues=("default",), started_at=0.0)
    ledger.apply(Batch("other", 1, {}, presence=other, settings={"default": {"queue_limit": 20}}))
    recorder.attend(worker)
    recorder.fleet("default")
    for _ in range(10):
        recorder.add("default", fields.observation(fields.SERVICE, fields.SERVICE_BOUNDS, 0.5))
        recorder.add("default", fields.observation(fields.WAIT, fields.wait_bounds(1.0), 0.25))
        recorder.add("default", {"offered:default": 2, "offered:critical": 1})
        recorder.flush()
        clock.advance(1.0)
    ledger.apply(Batch("other", 2, {}, presence=other))
    recorder._tick()
    view = recorder.fleet("default")
    assert view is not None
    assert (view.servers, view.worker_processes) == (12, 2)
    assert (view.service_time, view.service_scv, view.waiting_time) == (0.5, 0.0, 0.25)
    assert view.arrival_rate == 3.0
    assert view.settings == {"queue_limit": 20}
    assert view.age_seconds == 0.0
    clock.advance(0.75)
    later = recorder.fleet("default")
    assert later is not None
    assert later.age_seconds == 0.75


def test_the_service_time_of_an_idle_queue_is_that_of_all_times(
    recorder: Recorder, ledger: Any, clock: ManualClock
) -> None:
    recorder.add("default", fields.observation(fields.SERVICE, fields.SERVICE_BOUNDS, 0.5))
    recorder.fleet("default")
    recorder.flush()
    clock.advance(600.0)
    recorder.fleet("default")
    recorder._tick()
    view = recorder.fleet("default")
    assert view is not None
    assert (view.service_time, view.waiting_time, view.arrival_rate) == (0.5, None, 0.0)


def test_of_a_queue_that_nobody_counted_nothing_is_known(recorder: Recorder) -> None:
    recorder.fleet("default")
    recorder._tick()
    view = recorder.fleet("default")
    assert view is not None
    assert (view.servers, view.worker_processes) == (0, 0)
    assert (view.service_time, view.service_scv, view.waiting_time, view.arrival_rate) == (None,) * 4


def test_a_queue_that_nobody_asks_about_is_read_no_more(
    recorder: Recorder, ledger: Any, clock: ManualClock
) -> None:
    recorder.fleet("default")
    recorder._tick()
    clock.advance(FORGET_SECONDS + 1)
    recorder._tick()
    recorder._tick()
    assert ledger.reads == 1
    recorder.fleet("default")
    recorder._tick()
    assert ledger.reads == 2


def test_while_the_ledger_is_away_the_last_view_stays_and_gets_older(
    recorder: Recorder, ledger: Any, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """With nothing to flush, only reading fails."""
    recorder.fleet("default")
    recorder._tick()
    ledger.go_away()
    for _ in range(5):
        clock.advance(1.0)
        recorder._tick()
    view = recorder.fleet("default")
    assert view is not None
    assert view.age_seconds == 5.0
    assert len(caplog.records) == 1
    ledger.come_back()
    recorder._tick()
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert ledger.totals("")["errors:ledger_snapshot"] >= 1


def test_a_failed_flush_is_not_followed_by_a_read(recorder: Recorder, ledger: Any) -> None:
    """It would wait for the same timeout once more."""
    recorder.fleet("default")
    recorder.count("default", "done")
    ledger.go_away()
    recorder._tick()
    assert ledger.reads == 0


# --- forks ---


def test_a_child_sends_only_what_it_counted_itself_under_a_name_of_its_own(
    recorder: Recorder, ledger: Any, in_fork: InFork, worker: Presence
) -> None:
    recorder.attend(worker)
    recorder.count("default", "done", 100)
    ledger.go_away()
    recorder.flush()  # 100 are held
    recorder.count("default", "done", 10)  # and 10 wait behind them
    ledger.come_back()

    def child() -> tuple[str, dict[str, float], int, int]:
        was_unflushed = recorder.unflushed
        recorder.count("default", "done", 1)
        recorder.close()
        return recorder.writer, ledger.totals(), was_unflushed, len(ledger.snapshot().workers)

    writer, counted, was_unflushed, workers = in_fork(child)
    assert writer != recorder.writer
    assert (counted, was_unflushed, workers) == ({"done": 1}, 0, 0)
    assert recorder.flush()
    assert ledger.totals()["done"] == 110
    assert ledger.snapshot().servers("default") == 8


def test_a_child_publishes_what_its_parent_declared(recorder: Recorder, ledger: Any, in_fork: InFork) -> None:
    recorder.declare("default", {"sla_seconds": 1.0})
    recorder.flush()

    def child() -> dict[str, float | str]:
        ledger._queues.clear()
        recorder.count("default", "done")
        recorder.flush()
        return dict(ledger.snapshot().queue("default").settings)

    assert in_fork(child) == {"sla_seconds": 1.0}


def test_a_fork_while_other_threads_count_and_flush_does_not_deadlock(
    recorder: Recorder, in_fork: InFork, held_elsewhere: Callable[..., AbstractContextManager[None]]
) -> None:
    def child() -> int:
        recorder.count("default", "done")
        before = recorder.unflushed
        recorder.flush()
        return before

    with held_elsewhere(recorder._lock, recorder._flushing):
        assert in_fork(child) == 1


@pytest.mark.parametrize(
    ("settings", "servers"),
    [
        ({}, 16),
        ({"concurrency": 3}, 6),
        ({"concurrency_global": 5}, 5),
        ({"concurrency": 1, "concurrency_global": 5}, 2),
    ],
)
def test_a_queue_has_no_more_servers_than_its_bounds_let_work(
    settings: dict[str, float], servers: int
) -> None:
    ledger = MemoryLedger()
    for name in ("one", "two"):
        presence = Presence(name, "host", 1, threads=8, queues=("q",), started_at=0.0)
        ledger.apply(Batch(name, 1, {}, presence=presence, settings={"q": settings}))
    assert fleet_view(ledger.snapshot(["q"]), "q").servers == servers
