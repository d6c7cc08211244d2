"""One suite for every ledger: what is said of `Ledger` holds in memory and on a real Valkey server alike.

The server's clock runs on while a test does, so what depends on where in a slot it happens to run is asserted as a
range; `tests/unit/ledger/test_memory.py` has the exact numbers. Leases and decisions: `test_ledger_leases.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from littleq.ledger.base import (
    PRESENCE_SECONDS,
    SETTINGS_EXPIRY_SECONDS,
    SLOT_SECONDS,
    Batch,
    Ledger,
    Presence,
)
from littleq.ledger.memory import MemoryLedger
from littleq.ledger.redis import RedisLedger
from tests.conformance.ledgers import Subject


def batch(
    counts: Mapping[str, Mapping[str, float]] | None = None,
    *,
    writer: str = "w1",
    sequence: int = 1,
    **others: object,
) -> Batch:
    return Batch(writer, sequence, counts or {}, **others)  # type: ignore[arg-type]


def worker(writer: str = "w1", threads: int = 8, queues: tuple[str, ...] = ("default",)) -> Presence:
    return Presence(writer, host="host", pid=1, threads=threads, queues=queues, started_at=1_700_000_000.5)


# --- counters ---


def test_an_empty_ledger_knows_nothing(ledger: Ledger) -> None:
    snapshot = ledger.snapshot()
    assert (dict(snapshot.queues), snapshot.workers) == ({}, ())
    assert snapshot.queue("default").totals == {}
    assert snapshot.queue("default").recent_seconds == 0.0


def test_counts_of_all_writers_add_up(ledger: Ledger) -> None:
    ledger.apply(batch({"default": {"done": 3, "failed": 1}, "mail": {"done": 1}}))
    ledger.apply(batch({"default": {"done": 2}}, sequence=2))
    ledger.apply(batch({"default": {"done": 4}}, writer="w2"))
    snapshot = ledger.snapshot()
    assert snapshot.queue("default").totals == {"done": 9, "failed": 1}
    assert snapshot.queue("mail").totals == {"done": 1}


def test_a_batch_that_is_sent_again_counts_once(ledger: Ledger) -> None:
    first, second = batch({"default": {"done": 1}}), batch({"default": {"done": 10}}, sequence=2)
    for sent in (first, first, second, second, first, second):
        ledger.apply(sent)
    assert ledger.snapshot().queue("default").totals == {"done": 11}


def test_each_writer_has_sequence_numbers_of_its_own(ledger: Ledger) -> None:
    ledger.apply(batch({"default": {"done": 1}}, writer="w1", sequence=7))
    ledger.apply(batch({"default": {"done": 1}}, writer="w2", sequence=1))
    assert ledger.snapshot().queue("default").totals == {"done": 2}


def test_sums_and_whole_counts_may_share_a_field(ledger: Ledger) -> None:
    for sequence, amount in enumerate((1, 0.5, 2, 0.25, 3.0), start=1):
        ledger.apply(batch({"default": {"service:sum": amount}}, sequence=sequence))
    assert ledger.snapshot().queue("default").totals == {"service:sum": 6.75}


def test_small_amounts_are_not_rounded_away(ledger: Ledger) -> None:
    ledger.apply(batch({"default": {"service:sum": 86400.0, "service:sumsq": 1.2345678901234e-07}}))
    ledger.apply(batch({"default": {"service:sum": 0.000001234567}}, sequence=2))
    totals = ledger.snapshot().queue("default").totals
    assert totals["service:sum"] == pytest.approx(86400.000001234567, abs=1e-10)
    assert totals["service:sumsq"] == pytest.approx(1.2345678901234e-07, rel=1e-9)


def test_large_counts_stay_exact(ledger: Ledger) -> None:
    ledger.apply(batch({"default": {"done": 2**52}}))
    ledger.apply(batch({"default": {"done": 1}}, sequence=2))
    assert ledger.snapshot().queue("default").totals == {"done": 2**52 + 1}


def test_failures_without_a_queue_are_counted_under_no_name(ledger: Ledger) -> None:
    ledger.apply(batch({"": {"errors:ledger_flush": 1}}))
    assert ledger.snapshot().queue("").totals == {"errors:ledger_flush": 1}


def test_names_may_hold_any_character(ledger: Ledger) -> None:
    ledger.apply(batch({"a:b.c-d é": {"dead:söme reason": 1}}, settings={"a:b.c-d é": {"naïve": "ja"}}))
    found = ledger.snapshot(["a:b.c-d é"]).queue("a:b.c-d é")
    assert (found.totals, found.settings) == ({"dead:söme reason": 1}, {"naïve": "ja"})


def test_a_snapshot_holds_the_queues_asked_for(ledger: Ledger) -> None:
    ledger.apply(batch({"default": {"done": 1}, "mail": {"done": 2}, "": {"errors:x": 1}}))
    assert set(ledger.snapshot().queues) == {"default", "mail", ""}
    assert set(ledger.snapshot(["mail", "unknown"]).queues) == {"mail"}
    assert set(ledger.snapshot([]).queues) == set()


def test_a_snapshot_holds_the_fields_asked_for(subject: Subject) -> None:
    subject.ledger.apply(
        batch({"default": {"done": 4, "service:sum": 0.5, "service:le:1": 4}, "mail": {"failed": 1}})
    )
    subject.advance(10.0)
    found = subject.ledger.snapshot(fields=["done", "service:sum", "started"])
    assert set(found.queues) == {"default", "mail"}
    assert found.queue("default").totals == found.queue("default").recent == {"done": 4, "service:sum": 0.5}
    assert found.queue("mail").totals == found.queue("mail").recent == {}
    assert subject.ledger.snapshot(["default"], fields=[]).queue("default").totals == {}


def test_a_snapshot_without_recent_counts_has_all_the_rest(subject: Subject) -> None:
    sent = batch({"default": {"done": 4, "failed": 1}}, presence=worker(), settings={"default": {"a": 1}})
    subject.ledger.apply(sent)
    subject.advance(10.0)
    assert subject.ledger.snapshot().queue("default").recent == {"done": 4, "failed": 1}
    subject.ledger.apply(sent)  # its worker lives
    found = subject.ledger.snapshot(fields=["done"], recent=False)
    known = found.queue("default")
    assert (known.totals, known.settings) == ({"done": 4}, {"a": 1})
    assert (known.recent, known.recent_seconds) == ({}, 0.0)
    assert found.workers == (worker(),)


def test_whoever_opens_the_ledger_sees_the_same(subject: Subject) -> None:
    subject.ledger.apply(
        batch({"default": {"done": 3}}, presence=worker(), settings={"default": {"sla_seconds": 1.5}})
    )
    mine, theirs = subject.ledger.snapshot(), subject.reopened().snapshot()
    assert theirs.queue("default").totals == {"done": 3}
    assert (theirs.queues, theirs.workers) == (mine.queues, mine.workers)


def test_a_restarted_process_goes_on_counting(subject: Subject) -> None:
    subject.ledger.apply(batch({"default": {"done": 3}}, writer="before", sequence=99))
    subject.reopened().apply(batch({"default": {"done": 1}}, writer="after", sequence=1))
    assert subject.ledger.snapshot().queue("default").totals == {"done": 4}


def test_threads_that_write_at_once_lose_nothing(subject: Subject) -> None:
    def write(name: str) -> None:
        mine = subject.reopened()
        for sequence in range(1, 51):
            mine.apply(batch({"default": {"done": 1, "service:sum": 0.5}}, writer=name, sequence=sequence))

    writers = [threading.Thread(target=write, args=(f"w{index}",)) for index in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert subject.ledger.snapshot().queue("default").totals == {"done": 400, "service:sum": 200.0}


Sends = list[tuple[str, int, int]]


@given(st.lists(st.tuples(st.sampled_from(["w1", "w2"]), st.integers(1, 50), st.integers(1, 3)), max_size=12))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_however_often_batches_are_sent_each_counts_once(redis_client: Redis, sends: Sends) -> None:
    for make in (lambda: RedisLedger(redis_client, "tests"), MemoryLedger):
        redis_client.flushall()
        subject = make()
        sequences = {"w1": 0, "w2": 0}
        for writer, amount, times in sends:
            sequences[writer] += 1
            for _ in range(times):
                subject.apply(batch({"default": {"done": amount}}, writer=writer, sequence=sequences[writer]))
        assert subject.snapshot().queue("default").totals.get("done", 0) == sum(
            amount for _, amount, _ in sends
        )


# --- recent ---


def test_a_queue_that_is_younger_than_a_slot_has_no_window_yet(ledger: Ledger) -> None:
    """Divided by milliseconds, its first job would be a flood."""
    ledger.apply(batch({"default": {"offered:default": 1}}))
    found = ledger.snapshot().queue("default")
    assert (found.recent, found.recent_seconds) == ({}, 0.0)
    assert found.totals == {"offered:default": 1}


def test_a_young_queue_is_measured_over_its_own_age(subject: Subject) -> None:
    """Never over a minute that it has not lived."""
    subject.ledger.apply(batch({"default": {"offered:default": 30}}))
    subject.advance(10.0)
    found = subject.ledger.snapshot().queue("default")
    assert found.recent == {"offered:default": 30}
    assert 5.0 <= found.recent_seconds <= 10.5


def test_an_old_queue_is_measured_over_a_minute_whether_it_is_busy_or_not(subject: Subject) -> None:
    subject.ledger.apply(batch({"default": {"done": 5}}))
    subject.advance(600.0)
    found = subject.ledger.snapshot().queue("default")
    assert (found.recent, found.recent_seconds) == ({}, 60.0)
    assert found.totals == {"done": 5}
    subject.ledger.apply(batch({"default": {"done": 2}}, sequence=2))
    subject.advance(30.0)
    found = subject.ledger.snapshot().queue("default")
    assert (found.recent, found.recent_seconds) == ({"done": 2}, 60.0)
    assert found.totals == {"done": 7}


def test_the_slot_that_is_being_filled_is_not_recent_yet(subject: Subject) -> None:
    """It would be counted in full and last for a part."""
    subject.ledger.apply(batch({"default": {"done": 5}}))
    subject.advance(60.0)
    began = subject.ledger.snapshot().taken_at
    subject.ledger.apply(batch({"default": {"done": 100}}, sequence=2))
    before = subject.ledger.snapshot()
    if began // SLOT_SECONDS == before.taken_at // SLOT_SECONDS:  # else the server's slot ended just then
        assert before.queue("default").recent.get("done", 0) in (0, 5)
    subject.advance(5.0)
    assert subject.ledger.snapshot().queue("default").recent == {"done": 100}


def test_a_declared_queue_is_observed_from_its_declaration_on(subject: Subject) -> None:
    subject.ledger.apply(batch(settings={"default": {"sla_seconds": 1.0}}))
    subject.advance(30.0)
    found = subject.ledger.snapshot().queue("default")
    assert found.recent == {}
    assert 25.0 <= found.recent_seconds <= 30.5


def test_counts_are_spread_over_the_time_in_which_they_were_collected(subject: Subject) -> None:
    """5 jobs/s for 20 s, told at once: every complete slot of that time says 5 jobs/s."""
    subject.ledger.apply(batch({"default": {"offered:default": 100, "service:sum": 12.5}}, span_seconds=20.0))
    found = subject.ledger.snapshot().queue("default")
    assert 15.0 <= found.recent_seconds <= 20.5
    assert found.recent["offered:default"] / found.recent_seconds == pytest.approx(5.0, rel=0.01)
    assert found.recent["service:sum"] / found.recent["offered:default"] == pytest.approx(0.125)
    assert found.totals == {"offered:default": 100, "service:sum": 12.5}


def test_a_late_batch_counts_when_its_jobs_were_not_when_it_arrives(subject: Subject) -> None:
    """An outage of 30 s neither dents the rate of that time nor spikes the one of now."""
    subject.ledger.apply(batch({"default": {"done": 0}}))
    subject.advance(600.0)
    subject.ledger.apply(batch({"default": {"done": 100}}, sequence=2, age_seconds=30.0, span_seconds=20.0))
    assert subject.ledger.snapshot().queue("default").recent["done"] == pytest.approx(100.0)
    subject.advance(35.0)
    assert subject.ledger.snapshot().queue("default").recent.get("done", 0.0) == 0.0
    assert subject.ledger.snapshot().queue("default").totals == {"done": 100}


def test_of_a_long_outage_only_the_last_minute_is_recent(subject: Subject) -> None:
    subject.ledger.apply(batch({"default": {"done": 3600}}, span_seconds=3600.0))
    found = subject.ledger.snapshot().queue("default")
    assert found.recent_seconds == 60.0
    assert found.recent["done"] / found.recent_seconds == pytest.approx(1.0, rel=0.01)
    assert found.totals == {"done": 3600}


def test_a_batch_from_before_the_last_minute_is_in_the_totals_only(subject: Subject) -> None:
    subject.ledger.apply(batch({"default": {"done": 8}}, age_seconds=900.0, span_seconds=30.0))
    found = subject.ledger.snapshot().queue("default")
    assert (found.recent, found.recent_seconds) == ({}, 60.0)
    assert found.totals == {"done": 8}


# --- workers ---


def test_servers_are_the_threads_of_all_live_workers(ledger: Ledger) -> None:
    ledger.apply(batch(presence=worker("w1", threads=8, queues=("default", "mail")), writer="w1"))
    ledger.apply(batch(presence=worker("w2", threads=2, queues=("mail",)), writer="w2"))
    snapshot = ledger.snapshot([])  # whichever queues are asked for
    assert [snapshot.servers(queue) for queue in ("default", "mail", "other")] == [8, 10, 0]
    assert [snapshot.worker_processes(queue) for queue in ("default", "mail", "other")] == [1, 2, 0]
    assert snapshot.workers == (
        worker("w1", threads=8, queues=("default", "mail")),
        worker("w2", threads=2, queues=("mail",)),
    )


def test_a_queue_that_a_worker_names_twice_is_served_once(ledger: Ledger) -> None:
    ledger.apply(batch(presence=worker("w1", threads=8, queues=("mail", "mail")), writer="w1"))
    assert (ledger.snapshot().servers("mail"), ledger.snapshot().worker_processes("mail")) == (8, 1)


def test_a_worker_that_says_something_else_of_itself_is_known_by_that(subject: Subject) -> None:
    """A ledger may remember what it has read, as long as nobody can tell."""
    reader = subject.reopened()
    for threads in (8, 2, 8):
        subject.ledger.apply(batch(presence=worker(threads=threads)))
        assert reader.snapshot().workers == (worker(threads=threads),)
        assert reader.snapshot().servers("default") == threads


def test_a_process_that_only_sends_is_no_worker(ledger: Ledger) -> None:
    ledger.apply(batch({"default": {"offered:default": 1}}))
    assert ledger.snapshot().workers == ()


def test_a_worker_that_is_silent_for_too_long_is_gone(subject: Subject) -> None:
    subject.ledger.apply(batch(presence=worker("silent"), writer="silent"))
    subject.advance(PRESENCE_SECONDS / 2)
    subject.ledger.apply(batch(presence=worker("alive"), writer="alive"))
    assert len(subject.ledger.snapshot().workers) == 2
    subject.advance(PRESENCE_SECONDS / 2)
    assert [presence.writer for presence in subject.ledger.snapshot().workers] == ["alive"]


def test_a_worker_that_speaks_again_is_back(subject: Subject) -> None:
    subject.ledger.apply(batch(presence=worker()))
    subject.advance(PRESENCE_SECONDS * 3)
    subject.ledger.apply(batch(presence=worker("w2"), writer="w2"))
    subject.ledger.apply(batch(presence=worker(threads=4), sequence=2))
    assert subject.ledger.snapshot().servers("default") == 4 + 8


def test_a_worker_that_retires_is_gone_at_once(ledger: Ledger) -> None:
    ledger.apply(batch({"default": {"done": 1}}, presence=worker()))
    ledger.retire("w1")
    ledger.retire("w1")
    ledger.retire("never heard of")
    assert ledger.snapshot().workers == ()
    assert ledger.snapshot().queue("default").totals == {"done": 1}


def test_a_batch_that_counts_no_more_still_says_that_its_worker_lives(subject: Subject) -> None:
    """Its answers get lost, but it is there."""
    sent = batch({"default": {"done": 1}}, presence=worker())
    subject.ledger.apply(sent)
    subject.advance(PRESENCE_SECONDS)
    subject.ledger.apply(sent)
    assert subject.ledger.snapshot().servers("default") == 8
    assert subject.ledger.snapshot().queue("default").totals == {"done": 1}


# --- settings ---


def test_settings_keep_their_types_and_the_last_word_counts(ledger: Ledger) -> None:
    ledger.apply(batch(settings={"default": {"sla_seconds": 1.5, "sla_on": "wait", "percentile": 99}}))
    ledger.apply(batch(settings={"default": {"queue_limit": 20, "sla_seconds": 2.0}}, writer="w2"))
    assert ledger.snapshot().queue("default").settings == {
        "sla_seconds": 2.0,
        "sla_on": "wait",
        "percentile": 99,
        "queue_limit": 20,
    }


def test_a_setting_that_nobody_publishes_any_more_is_forgotten(subject: Subject) -> None:
    subject.ledger.apply(batch(settings={"default": {"arrival_rate": 20.0, "sla_seconds": 1.0}}))
    subject.advance(SETTINGS_EXPIRY_SECONDS - 5.0)
    subject.ledger.apply(batch(settings={"default": {"sla_seconds": 1.0}}, sequence=2))
    assert subject.ledger.snapshot().queue("default").settings == {"arrival_rate": 20.0, "sla_seconds": 1.0}
    subject.advance(5.0)
    assert subject.ledger.snapshot().queue("default").settings == {"sla_seconds": 1.0}


def test_who_is_busy_is_known_until_it_is_idle_leaves_or_falls_silent(subject: Subject) -> None:
    ledger = subject.ledger
    present = Presence("", "host", 1, 4, ("q",), 0.0)
    for writer, running in (("a", 3), ("b", 1), ("idle", 0)):
        ledger.apply(Batch(writer, 1, {}, presence=present, running=running))
    assert dict(ledger.busy()) == {"a": 3, "b": 1}
    ledger.apply(Batch("a", 2, {}, presence=present, running=0))
    ledger.retire("b")
    assert dict(ledger.busy()) == {}
    ledger.apply(Batch("a", 3, {}, presence=present, running=2))
    subject.advance(15.0)
    assert dict(ledger.busy()) == {}
