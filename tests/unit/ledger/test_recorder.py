"""How a process counts, and what becomes of it while the ledger is away. The test is the thread that flushes."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from littleq.ledger import fields
from littleq.ledger.base import Presence
from littleq.ledger.recorder import Recorder
from littleq.testing import ManualClock

# --- counting ---


def test_what_was_counted_is_in_the_ledger_after_a_flush(recorder: Recorder, ledger: Any) -> None:
    recorder.count("default", "done")
    recorder.count("default", "done", 2)
    recorder.count("mail", "failed")
    assert ledger.batches == []  # counting does no I/O
    assert recorder.flush()
    assert (ledger.totals(), ledger.totals("mail")) == ({"done": 3}, {"failed": 1})


@pytest.mark.parametrize(
    "counts",
    [
        {"done": 1, "service:sum": 0.5},
        (("done", 1), ("service:sum", 0.25), ("service:sum", 0.25)),
        [("service:sum", 0.5), ("done", 1)],
    ],
)
def test_counts_come_as_a_mapping_or_as_pairs(recorder: Recorder, ledger: Any, counts: Any) -> None:
    recorder.add("default", counts)
    recorder.add("default", iter(counts.items()) if isinstance(counts, dict) else iter(counts))
    recorder.flush()
    assert ledger.totals() == {"done": 2, "service:sum": 1.0}


def test_failures_inside_littleq_are_counted_by_place(recorder: Recorder, ledger: Any) -> None:
    recorder.error("retry", "default")
    recorder.error("snapshot")
    recorder.flush()
    assert ledger.totals() == {"errors:retry": 1}
    assert ledger.totals("") == {"errors:snapshot": 1}


def test_an_observation_counts_sums_squares_and_bins(recorder: Recorder, ledger: Any) -> None:
    for value in (0.02, 0.04, -0.5):  # a negative one is two hosts' clocks
        recorder.add("default", fields.observation(fields.SERVICE, fields.SERVICE_BOUNDS, value))
    recorder.flush()
    assert ledger.totals() == {
        "service:count": 3,
        "service:sum": pytest.approx(0.06),
        "service:sumsq": pytest.approx(0.002),
        "service:le:0.025": 1,
        "service:le:0.05": 1,
        "service:le:0.001": 1,
    }


def test_nothing_to_say_is_not_said(recorder: Recorder, ledger: Any) -> None:
    assert recorder.flush()
    recorder.count("default", "done")
    recorder.flush()
    assert recorder.flush()
    assert len(ledger.batches) == 1


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_what_is_no_number_spoils_nothing_else(recorder: Recorder, ledger: Any, poison: float) -> None:
    recorder.add("default", {"service:sum": poison, "done": 1})
    assert recorder.flush()
    recorder.add("default", {"service:sum": 0.5})
    assert recorder.flush()
    assert ledger.totals() == {"done": 1, "service:sum": 0.5, "errors:ledger_value": 1}


def test_threads_that_count_while_another_flushes_lose_nothing(recorder: Recorder, ledger: Any) -> None:
    def work() -> None:
        for _ in range(2000):
            recorder.add("default", (("done", 1), ("service:sum", 0.5)))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        recorder.flush()
    recorder.flush()
    assert ledger.totals() == {"done": 8000, "service:sum": 4000.0}
    assert recorder.unflushed == 0


def test_a_signal_handler_may_count_while_its_thread_does(recorder: Recorder) -> None:
    def interrupted() -> None:
        with recorder._lock:  # the thread was counting
            recorder.count("default", "done")

    thread = threading.Thread(target=interrupted, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()


# --- the thread ---


@pytest.mark.parametrize(
    "use",
    [
        lambda recorder: recorder.count("default", "done"),
        lambda recorder: recorder.add("default", {"done": 1}),
        lambda recorder: recorder.error("retry"),
        lambda recorder: recorder.fleet("default"),
        lambda recorder: recorder.attend(Presence.here(threads=8, queues=["default"], started_at=0.0)),
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


def test_a_batch_that_was_refused_is_sent_again_first_and_unchanged(recorder: Recorder, ledger: Any) -> None:
    recorder.count("default", "done")
    ledger.go_away()
    assert not recorder.flush()
    recorder.count("default", "failed", 5)
    assert not recorder.flush()
    ledger.come_back()
    assert recorder.flush()
    assert [batch.sequence for batch in ledger.batches] == [1, 1, 1, 2]
    assert [batch.counts["default"] for batch in ledger.batches] == [{"done": 1}] * 3 + [{"failed": 5}]
    assert ledger.totals() == {"done": 1, "failed": 5}


def test_a_batch_whose_answer_got_lost_counts_once(recorder: Recorder, ledger: Any) -> None:
    recorder.count("default", "done")
    ledger.go_away(answer_lost=True)
    assert not recorder.flush()
    assert not recorder.flush()
    ledger.come_back()
    recorder.count("default", "done")
    assert recorder.flush()
    assert ledger.totals() == {"done": 2}


def test_what_could_not_be_flushed_is_counted(recorder: Recorder, ledger: Any) -> None:
    recorder.add("default", {"done": 1, "service:sum": 0.5})
    assert recorder.unflushed == 2
    ledger.go_away()
    recorder.flush()
    recorder.flush()
    assert recorder.unflushed == 2 + 2  # and two failures that are told later
    ledger.come_back()
    recorder.flush()
    assert recorder.unflushed == 0
    assert ledger.totals("") == {"errors:ledger_flush": 2}


def test_a_long_outage_needs_no_more_memory_than_a_short_one(recorder: Recorder, ledger: Any) -> None:
    ledger.go_away()
    for _ in range(100):
        recorder.count("default", "done")
        recorder.flush()
    ledger.come_back()
    ledger.batches.clear()
    recorder.flush()
    assert [len(batch.counts["default"]) for batch in ledger.batches] == [1, 1]
    assert ledger.totals() == {"done": 100}


def test_an_outage_makes_one_log_line_and_its_end_another(
    recorder: Recorder, ledger: Any, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    for away in (False, True, True, True, False, False):
        if away:
            ledger.go_away()
        else:
            ledger.come_back()
        recorder.count("default", "done")
        recorder.flush()
        clock.advance(1.0)
    assert [record.message for record in caplog.records] == [
        "Ledger unavailable, counts are kept and sent later: ConnectionError: connection refused",
        "Ledger available again after 3 s",
    ]


def test_a_bug_in_a_ledger_is_an_outage_too_and_shows_its_traceback(
    recorder: Recorder, ledger: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.error = ZeroDivisionError("bug")
    recorder.count("default", "done")
    assert not recorder.flush()
    assert "Traceback" in caplog.text
    ledger.come_back()
    assert recorder.flush()
    assert ledger.totals() == {"done": 1}


def test_a_batch_says_when_its_counts_were_collected(
    recorder: Recorder, ledger: Any, clock: ManualClock
) -> None:
    clock.advance(100.0)  # a quiet time before the first count belongs to nothing
    recorder.count("default", "done")
    clock.advance(2.0)
    ledger.go_away()
    recorder.flush()
    clock.advance(30.0)
    recorder.count("default", "done")
    clock.advance(8.0)
    ledger.come_back()
    recorder.flush()
    assert [(batch.age_seconds, batch.span_seconds) for batch in ledger.batches] == [
        (0.0, 2.0),
        (38.0, 2.0),
        (0.0, 38.0),  # the failure was counted when the first flush failed
    ]


steps = st.lists(st.sampled_from(["count", "flush", "refuse", "lose the answer"]), max_size=40)


@given(steps)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_fails_each_count_arrives_exactly_once(
    make_recorder: Callable[..., Recorder], ledger: Any, actions: list[str]
) -> None:
    ledger.come_back()
    before = ledger.totals().get("done", 0)
    recorder = make_recorder(ledger)
    counted = 0
    for action in actions:
        if action == "count":
            recorder.count("default", "done")
            counted += 1
            continue
        if action == "flush":
            ledger.come_back()
        else:
            ledger.go_away(answer_lost=action == "lose the answer")
        recorder.flush()
    ledger.come_back()
    assert recorder.flush()
    assert ledger.totals().get("done", 0) == before + counted
    assert recorder.unflushed == 0


# --- closing ---


def test_close_flushes_leaves_and_may_be_called_again(
    recorder: Recorder, ledger: Any, worker: Presence
) -> None:
    recorder.attend(worker)
    recorder.flush()
    recorder.count("default", "done")
    recorder.close()
    recorder.close()
    assert ledger.totals() == {"done": 1}
    assert ledger.snapshot().workers == ()
    assert recorder._background.idle


def test_counting_may_go_on_after_close(recorder: Recorder, ledger: Any) -> None:
    """A StubBroker's worker ends, and the next test starts another one."""
    recorder.count("default", "done")
    recorder.close()
    recorder.count("default", "done")
    assert not recorder._background.idle
    recorder.close()
    assert ledger.totals() == {"done": 2}


def test_closing_without_a_ledger_says_what_was_not_sent(
    recorder: Recorder, ledger: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.go_away()
    recorder.count("default", "done")
    recorder.close()
    assert "2 increments not sent" in caplog.text  # and the failure itself
    assert recorder._background.idle
