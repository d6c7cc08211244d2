"""Starts of jobs that were delivered before, on every ledger."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from littleq.ledger.attempts import ATTEMPTS_EXPIRY_SECONDS
from littleq.ledger.base import Ledger
from tests.conformance.ledgers import Subject


def test_each_start_is_one_more_and_the_first_is_1(ledger: Ledger) -> None:
    assert [ledger.attempt("mail", "a") for _ in range(3)] == [1, 2, 3]
    assert ledger.attempt("mail", "b") == 1
    assert ledger.attempt("other", "a") == 1


def test_all_processes_count_together(subject: Subject) -> None:
    assert subject.ledger.attempt("mail", "a") == 1
    assert subject.reopened().attempt("mail", "a") == 2


def test_threads_never_count_the_same_start(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: ledger.attempt("mail", "a"), range(40)))
    assert sorted(found) == list(range(1, 41))


def test_what_is_settled_begins_anew_and_the_others_stay(ledger: Ledger) -> None:
    for message_id in ("a", "b", "c", "c"):
        ledger.attempt("mail", message_id)
    ledger.attempt("other", "a")
    ledger.settled("mail", ["a", "b", "never seen"])
    ledger.settled("mail", [])
    assert [ledger.attempt("mail", message_id) for message_id in ("a", "b", "c")] == [1, 1, 3]
    assert ledger.attempt("other", "a") == 2


def test_a_job_is_forgotten_seven_days_after_its_last_start(subject: Subject) -> None:
    almost = ATTEMPTS_EXPIRY_SECONDS - 3600.0
    subject.ledger.attempt("mail", "a")
    subject.ledger.attempt("mail", "b")
    subject.advance(almost)
    assert subject.ledger.attempt("mail", "a") == 2
    subject.advance(almost)
    assert subject.ledger.attempt("mail", "a") == 3
    assert subject.ledger.attempt("mail", "b") == 1


def test_counting_starts_leaves_no_other_trace(ledger: Ledger) -> None:
    ledger.attempt("mail", "a")
    assert dict(ledger.snapshot().queues) == {}
