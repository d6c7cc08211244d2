"""How a process counts: no thread and no server in here, the test is the background."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Collection
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littleq.errors import ValidationError
from littleq.ledger import fields
from littleq.ledger import recorder as module
from littleq.ledger.base import PRESENCE_SECONDS, Batch, LedgerSnapshot, LedgerUnavailable, Presence
from littleq.ledger.fleet import FORGET_SECONDS
from littleq.ledger.memory import MemoryLedger
from littleq.ledger.recorder import SETTINGS_SECONDS, Recorder
from littleq.testing import ManualClock

InFork = Callable[[Callable[[], Any]], Any]


class StillBackground:
    """Stands for `Background`: notes what was asked of it, and runs nothing."""

    def __init__(self, name: str, interval_seconds: float, task: Callable[[], object]) -> None:
        self.interval_seconds = interval_seconds
        self.task = task
        self.idle = True
        self.woken = 0

    def start(self) -> None:
        self.idle = False

    def wake(self) -> None:
        self.idle = False
        self.woken += 1

    def stop(self, run_once_more: bool = False) -> None:
        self.idle = True


class FlakyLedger(MemoryLedger):
    """Fails on demand: before it takes a batch, or after (the answer gets lost)."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.error: Exception | None = None
        self.answer_lost = False
        self.batches: list[Batch] = []
        self.reads = 0

    def apply(self, batch: Batch) -> None:
        self.batches.append(batch)
        if self.error is None or self.answer_lost:
            super().apply(batch)
        if self.error is not None:
            raise self.error

    def retire(self, writer: str) -> None:
        if self.error is not None:
            raise self.error
        super().retire(writer)

    def snapshot(
        self, queues: Collection[str] | None = None, *, fields: Collection[str] | None = None
    ) -> LedgerSnapshot:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return super().snapshot(queues, fields=fields)


AWAY = LedgerUnavailable("ConnectionError: connection refused")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def ledger(clock: ManualClock) -> FlakyLedger:
    return FlakyLedger(clock)


@pytest.fixture
def recorder(ledger: FlakyLedger, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    monkeypatch.setattr(module, "Background", StillBackground)
    monkeypatch.setattr(module, "at_process_exit", lambda _: None)
    return Recorder(ledger, clock=clock)


def totals(ledger: MemoryLedger, queue: str = "default") -> dict[str, float]:
    return dict(ledger.snapshot().queue(queue).totals)


def presence(threads: int = 8) -> Presence:
    return Presence.here(threads=threads, queues=["default"], started_at=0.0)


# --- counting ---


def test_what_was_counted_is_in_the_ledger_after_a_flush(recorder: Recorder, ledger: FlakyLedger) -> None:
    recorder.count("default", "done")
    recorder.count("default", "done", 2)
    recorder.count("mail", "failed")
    assert ledger.batches == []  # counting does no I/O
    assert recorder.flush()
    assert (totals(ledger), totals(ledger, "mail")) == ({"done": 3}, {"failed": 1})


@pytest.mark.parametrize(
    "counts",
    [
        {"done": 1, "service:sum": 0.5},
        (("done", 1), ("service:sum", 0.25), ("service:sum", 0.25)),
        [("service:sum", 0.5), ("done", 1)],
    ],
)
def test_counts_come_as_a_mapping_or_as_pairs(recorder: Recorder, ledger: FlakyLedger, counts: Any) -> None:
    recorder.add("default", counts)
    recorder.add("default", iter(counts.items()) if isinstance(counts, dict) else iter(counts))
    recorder.flush()
    assert totals(ledger) == {"done": 2, "service:sum": 1.0}


def test_failures_inside_littleq_are_counted_by_place(recorder: Recorder, ledger: FlakyLedger) -> None:
    recorder.error("retry", "default")
    recorder.error("snapshot")
    recorder.flush()
    assert totals(ledger) == {"errors:retry": 1}
    assert totals(ledger, "") == {"errors:snapshot": 1}


def test_an_observation_counts_sums_squares_and_bins(recorder: Recorder, ledger: FlakyLedger) -> None:
    for value in (0.02, 0.04, -0.5):  # a negative one is two hosts' clocks
        recorder.add("default", fields.observation(fields.SERVICE, fields.SERVICE_BOUNDS, value))
    recorder.flush()
    assert totals(ledger) == {
        "service:count": 3,
        "service:sum": pytest.approx(0.06),
        "service:sumsq": pytest.approx(0.002),
        "service:le:0.025": 1,
        "service:le:0.05": 1,
        "service:le:0.001": 1,
    }


def test_nothing_to_say_is_not_said(recorder: Recorder, ledger: FlakyLedger) -> None:
    assert recorder.flush()
    recorder.count("default", "done")
    recorder.flush()
    assert recorder.flush()
    assert len(ledger.batches) == 1


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_what_is_no_number_spoils_nothing_else(
    recorder: Recorder, ledger: FlakyLedger, poison: float
) -> None:
    recorder.add("default", {"service:sum": poison, "done": 1})
    assert recorder.flush()
    recorder.add("default", {"service:sum": 0.5})
    assert recorder.flush()
    assert totals(ledger) == {"done": 1, "service:sum": 0.5, "errors:ledger_value": 1}


def test_threads_that_count_while_another_flushes_lose_nothing(
    recorder: Recorder, ledger: FlakyLedger
) -> None:
    def work() -> None:
        for _ in range(2000):
            recorder.add("default", (("done", 1), ("service:sum", 0.5)))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        recorder.flush()
    recorder.flush()
    assert totals(ledger) == {"done": 8000, "service:sum": 4000.0}
    assert recorder.unflushed == 0


# --- the thread ---


@pytest.mark.parametrize(
    "use",
    [
        lambda recorder: recorder.count("default", "done"),
        lambda recorder: recorder.add("default", {"done": 1}),
        lambda recorder: recorder.error("retry"),
        lambda recorder: recorder.fleet("default"),
        lambda recorder: recorder.attend(presence()),
    ],
)
def test_the_first_use_starts_the_thread(recorder: Recorder, use: Callable[[Recorder], object]) -> None:
    assert recorder._background.idle
    use(recorder)
    assert not recorder._background.idle


def test_declaring_starts_no_thread(recorder: Recorder) -> None:
    """It happens when an app's modules are imported, often before a web server forks."""
    recorder.declare("default", {"sla_seconds": 1.0})
    assert recorder._background.idle


# --- outages ---


def test_a_batch_that_was_refused_is_sent_again_first_and_unchanged(
    recorder: Recorder, ledger: FlakyLedger
) -> None:
    recorder.count("default", "done")
    ledger.error = AWAY
    assert not recorder.flush()
    recorder.count("default", "failed", 5)
    assert not recorder.flush()
    ledger.error = None
    assert recorder.flush()
    assert [batch.sequence for batch in ledger.batches] == [1, 1, 1, 2]
    assert [batch.counts["default"] for batch in ledger.batches] == [{"done": 1}] * 3 + [{"failed": 5}]
    assert totals(ledger) == {"done": 1, "failed": 5}


def test_a_batch_whose_answer_got_lost_counts_once(recorder: Recorder, ledger: FlakyLedger) -> None:
    recorder.count("default", "done")
    ledger.error, ledger.answer_lost = AWAY, True
    assert not recorder.flush()
    assert not recorder.flush()
    ledger.error = None
    recorder.count("default", "done")
    assert recorder.flush()
    assert totals(ledger) == {"done": 2}


def test_what_could_not_be_flushed_is_counted(recorder: Recorder, ledger: FlakyLedger) -> None:
    recorder.add("default", {"done": 1, "service:sum": 0.5})
    assert recorder.unflushed == 2
    ledger.error = AWAY
    recorder.flush()
    recorder.flush()
    assert recorder.unflushed == 2 + 2  # and two failures that are told later
    ledger.error = None
    recorder.flush()
    assert recorder.unflushed == 0
    assert totals(ledger, "") == {"errors:ledger_flush": 2}


def test_a_long_outage_needs_no_more_memory_than_a_short_one(recorder: Recorder, ledger: FlakyLedger) -> None:
    ledger.error = AWAY
    for _ in range(100):
        recorder.count("default", "done")
        recorder.flush()
    ledger.error = None
    ledger.batches.clear()
    recorder.flush()
    assert [len(batch.counts["default"]) for batch in ledger.batches] == [1, 1]
    assert totals(ledger) == {"done": 100}


def test_an_outage_makes_one_log_line_and_its_end_another(
    recorder: Recorder, ledger: FlakyLedger, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    for error in (None, AWAY, AWAY, AWAY, None, None):
        ledger.error = error
        recorder.count("default", "done")
        recorder.flush()
        clock.advance(1.0)
    assert [record.message for record in caplog.records] == [
        "Ledger unavailable, counts are kept and sent later: ConnectionError: connection refused",
        "Ledger available again after 3 s",
    ]


def test_a_bug_in_a_ledger_is_an_outage_too_and_shows_its_traceback(
    recorder: Recorder, ledger: FlakyLedger, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.error = ZeroDivisionError("bug")
    recorder.count("default", "done")
    assert not recorder.flush()
    assert "Traceback" in caplog.text
    ledger.error = None
    assert recorder.flush()
    assert totals(ledger) == {"done": 1}


def test_a_batch_says_when_its_counts_were_collected(
    recorder: Recorder, ledger: FlakyLedger, clock: ManualClock
) -> None:
    clock.advance(100.0)  # a quiet time before the first count belongs to nothing
    recorder.count("default", "done")
    clock.advance(2.0)
    ledger.error = AWAY
    recorder.flush()
    clock.advance(30.0)
    recorder.count("default", "done")
    clock.advance(8.0)
    ledger.error = None
    recorder.flush()
    assert [(batch.age_seconds, batch.span_seconds) for batch in ledger.batches] == [
        (0.0, 2.0),
        (38.0, 2.0),
        (0.0, 38.0),  # the failure was counted when the first flush failed
    ]


steps = st.lists(st.sampled_from(["count", "flush", "refuse", "lose the answer"]), max_size=40)


@given(steps)
def test_whatever_fails_each_count_arrives_exactly_once(actions: list[str]) -> None:
    clock = ManualClock()
    ledger = FlakyLedger(clock)
    recorder = Recorder(ledger, clock=clock)
    recorder._background = StillBackground("", 1.0, recorder.flush)  # type: ignore[assignment]
    recorder._start = lambda: None  # type: ignore[method-assign]
    counted = 0
    for action in actions:
        if action == "count":
            recorder.count("default", "done")
            counted += 1
        else:
            ledger.error = None if action == "flush" else AWAY
            ledger.answer_lost = action == "lose the answer"
            recorder.flush()
    ledger.error = None
    assert recorder.flush()
    assert totals(ledger).get("done", 0) == counted
    assert recorder.unflushed == 0


# --- workers and settings ---


def test_a_worker_says_with_every_flush_that_it_lives(
    recorder: Recorder, ledger: FlakyLedger, clock: ManualClock
) -> None:
    recorder.attend(presence(threads=8))
    recorder.flush()
    for _ in range(3):
        clock.advance(PRESENCE_SECONDS - 1)
        recorder.flush()
    assert ledger.snapshot().servers("default") == 8
    assert ledger.snapshot().workers[0].writer == recorder.writer


def test_a_worker_that_learns_of_a_queue_says_so(recorder: Recorder, ledger: FlakyLedger) -> None:
    recorder.attend(presence())
    recorder.flush()
    recorder.attend(Presence.here(threads=8, queues=["default", "mail"], started_at=0.0))
    recorder.flush()
    assert ledger.snapshot().servers("mail") == 8
    assert len(ledger.snapshot().workers) == 1


def test_a_worker_flushes_often_enough_to_seem_alive(
    ledger: FlakyLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "Background", StillBackground)
    monkeypatch.setattr(module, "at_process_exit", lambda _: None)
    recorder = Recorder(ledger, flush_seconds=60.0)
    recorder.attend(presence())
    assert recorder._background.interval_seconds <= PRESENCE_SECONDS / 3


def test_a_worker_that_leaves_is_gone_with_the_next_flush(recorder: Recorder, ledger: FlakyLedger) -> None:
    recorder.attend(presence())
    recorder.flush()
    recorder.leave()
    recorder.flush()
    assert ledger.snapshot().workers == ()


def test_a_worker_that_leaves_during_an_outage_is_gone_after_it(
    recorder: Recorder, ledger: FlakyLedger
) -> None:
    """The batch that was held when it left must not bring it back."""
    recorder.attend(presence())
    recorder.count("default", "done")
    recorder.flush()
    ledger.error = AWAY
    recorder.count("default", "done")
    recorder.flush()
    recorder.leave()
    assert not recorder.flush()
    ledger.error = None
    assert recorder.flush()
    assert ledger.snapshot().workers == ()
    assert totals(ledger) == {"done": 2}


def test_settings_are_published_once_and_again_when_they_change(
    recorder: Recorder, ledger: FlakyLedger
) -> None:
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
    recorder: Recorder, ledger: FlakyLedger, clock: ManualClock
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


def test_settings_declared_during_an_outage_are_published_after_it(
    recorder: Recorder, ledger: FlakyLedger
) -> None:
    ledger.error = AWAY
    recorder.declare("default", {"sla_seconds": 1.0})
    recorder.flush()
    recorder.declare("mail", {"sla_seconds": 2.0})
    recorder.flush()
    ledger.error = None
    recorder.flush()
    assert ledger.snapshot().queue("default").settings == {"sla_seconds": 1.0}
    assert ledger.snapshot().queue("mail").settings == {"sla_seconds": 2.0}


# --- closing ---


def test_close_flushes_leaves_and_may_be_called_again(recorder: Recorder, ledger: FlakyLedger) -> None:
    recorder.attend(presence())
    recorder.flush()
    recorder.count("default", "done")
    recorder.close()
    recorder.close()
    assert totals(ledger) == {"done": 1}
    assert ledger.snapshot().workers == ()
    assert recorder._background.idle


def test_counting_may_go_on_after_close(recorder: Recorder, ledger: FlakyLedger) -> None:
    """A StubBroker's worker ends, and the next test starts another one."""
    recorder.count("default", "done")
    recorder.close()
    recorder.count("default", "done")
    assert not recorder._background.idle
    recorder.close()
    assert totals(ledger) == {"done": 2}


def test_closing_without_a_ledger_says_what_was_not_sent(
    recorder: Recorder, ledger: FlakyLedger, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.error = AWAY
    recorder.count("default", "done")
    recorder.close()
    assert "2 increments not sent" in caplog.text  # and the failure itself
    assert recorder._background.idle


# --- the fleet ---


def test_the_fleet_is_unknown_until_it_was_read_and_asking_does_no_io(
    recorder: Recorder, ledger: FlakyLedger
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
    recorder: Recorder, ledger: FlakyLedger, clock: ManualClock
) -> None:
    other = Presence("other", "host", 1, threads=4, queues=("default",), started_at=0.0)
    ledger.apply(Batch("other", 1, {}, presence=other, settings={"default": {"queue_limit": 20}}))
    recorder.attend(presence(threads=8))
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
    recorder: Recorder, ledger: FlakyLedger, clock: ManualClock
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
    recorder: Recorder, ledger: FlakyLedger, clock: ManualClock
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
    recorder: Recorder, ledger: FlakyLedger, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """With nothing to flush, only reading fails."""
    recorder.fleet("default")
    recorder._tick()
    ledger.error = AWAY
    for _ in range(5):
        clock.advance(1.0)
        recorder._tick()
    view = recorder.fleet("default")
    assert view is not None
    assert view.age_seconds == 5.0
    assert len(caplog.records) == 1
    ledger.error = None
    recorder._tick()
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert totals(ledger, "")["errors:ledger_snapshot"] >= 1


def test_a_failed_flush_is_not_followed_by_a_read(recorder: Recorder, ledger: FlakyLedger) -> None:
    """It would wait for the same timeout once more."""
    recorder.fleet("default")
    recorder.count("default", "done")
    ledger.error = AWAY
    recorder._tick()
    assert ledger.reads == 0


# --- forks ---


def test_a_child_sends_only_what_it_counted_itself_under_a_name_of_its_own(
    recorder: Recorder, ledger: FlakyLedger, in_fork: InFork
) -> None:
    recorder.attend(presence())
    recorder.count("default", "done", 100)
    ledger.error = AWAY
    recorder.flush()  # 100 are held
    recorder.count("default", "done", 10)  # and 10 wait behind them
    ledger.error = None

    def child() -> tuple[str, dict[str, float], int, int]:
        was_unflushed = recorder.unflushed
        recorder.count("default", "done", 1)
        recorder.close()
        return recorder.writer, totals(ledger), was_unflushed, len(ledger.snapshot().workers)

    writer, counted, was_unflushed, workers = in_fork(child)
    assert writer != recorder.writer
    assert (counted, was_unflushed, workers) == ({"done": 1}, 0, 0)
    assert recorder.flush()
    assert totals(ledger)["done"] == 110
    assert ledger.snapshot().servers("default") == 8


def test_a_child_publishes_what_its_parent_declared(
    recorder: Recorder, ledger: FlakyLedger, in_fork: InFork
) -> None:
    recorder.declare("default", {"sla_seconds": 1.0})
    recorder.flush()

    def child() -> dict[str, float | str]:
        ledger._queues.clear()
        recorder.count("default", "done")
        recorder.flush()
        return dict(ledger.snapshot().queue("default").settings)

    assert in_fork(child) == {"sla_seconds": 1.0}


def test_a_fork_while_other_threads_count_and_flush_does_not_deadlock(
    recorder: Recorder, in_fork: InFork
) -> None:
    def child() -> int:
        recorder.count("default", "done")
        before = recorder.unflushed
        recorder.flush()
        return before

    with recorder._lock, recorder._flushing:
        assert in_fork(child) == 1
