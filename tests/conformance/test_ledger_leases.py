"""One suite for every ledger: the right to decide, and what was decided."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from littleq.ledger.base import RECORD_EXPIRY_SECONDS, Lease, Ledger, Record
from tests.conformance.ledgers import InMemory, OnServer, Subject

DECISION = {
    "desired": 3,
    "reason": "λ rises: «größer»\n",
    "share": 0.1 + 0.2,
    "inputs": {"ready": None, "due": [[5.0, 2]]},
}
STATE = {"last": {"now": 1_700_000_000.123456}, "held": [], "is_young": True}


def take(ledger: Ledger, holder: str = "a", seconds: float = 10.0, name: str = "scaling") -> Lease:
    """The lease, which must be free."""
    lease = ledger.lease(name, holder, seconds)
    assert lease is not None
    return lease


def record(number: float = 0, state: Any = None) -> Record:
    return Record({"number": number}, state)


def numbers(ledger: Ledger) -> dict[str, float]:
    return {queue: found.decision["number"] for queue, found in ledger.records()[1].items()}


# --- the lease ---


def test_one_holds_it_at_a_time(ledger: Ledger) -> None:
    mine = take(ledger, "a")
    assert (mine.name, mine.holder, mine.decided_at) == ("scaling", "a", None)
    assert mine.taken_at == pytest.approx(ledger.snapshot().taken_at, abs=5.0)
    assert ledger.lease("scaling", "b", 10.0) is None
    assert ledger.lease("scaling", "b", 10.0) is None
    assert take(ledger, "b", name="something else").holder == "b"


def test_the_holder_renews_it_under_the_same_token(subject: Subject) -> None:
    first = take(subject.ledger)
    for _ in range(4):
        subject.advance(5.0)
        again = take(subject.ledger)
        assert again.token == first.token
        assert subject.ledger.lease("scaling", "b", 10.0) is None


def test_it_lasts_as_long_as_the_last_call_said(subject: Subject) -> None:
    take(subject.ledger, "a", 100.0)
    take(subject.ledger, "a", 10.0)
    subject.advance(10.0)
    assert take(subject.ledger, "b").holder == "b"


def test_after_it_has_run_out_another_takes_it_under_a_higher_token(subject: Subject) -> None:
    old = take(subject.ledger, "a")
    subject.advance(5.0)
    assert subject.ledger.lease("scaling", "b", 10.0) is None
    subject.advance(5.0)
    new = take(subject.ledger, "b")
    assert new.token > old.token
    assert subject.ledger.lease("scaling", "a", 10.0) is None
    subject.advance(10.0)
    assert take(subject.ledger, "a").token > new.token


def test_given_back_it_is_free_at_once(ledger: Ledger) -> None:
    old = take(ledger, "a")
    ledger.release(old)
    new = take(ledger, "b")
    assert new.token > old.token
    ledger.release(new)
    ledger.release(new)
    assert take(ledger, "b").token > new.token


def test_nobody_gives_back_the_lease_of_another(subject: Subject) -> None:
    old = take(subject.ledger, "a")
    subject.advance(10.0)
    take(subject.ledger, "b")
    subject.ledger.release(old)
    subject.ledger.release(Lease("never taken", "a", 1, None, 0.0))
    assert subject.ledger.lease("scaling", "c", 10.0) is None


def test_of_many_who_ask_at_once_one_gets_it(subject: Subject) -> None:
    together = threading.Barrier(8)
    found: list[Lease | None] = []

    def ask(holder: str) -> None:
        mine = subject.reopened()
        together.wait()
        found.append(mine.lease("scaling", holder, 10.0))

    threads = [threading.Thread(target=ask, args=(f"holder {index}",)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len([lease for lease in found if lease is not None]) == 1


def test_a_ledger_that_was_emptied_gives_it_again_under_a_higher_token(subject: Subject) -> None:
    old = take(subject.ledger, "a")
    subject.ledger.publish(old, {"default": record()})
    subject.empty()
    new = take(subject.ledger, "a")
    assert new.token > old.token
    assert new.decided_at is None
    assert not subject.ledger.publish(old, {"default": record(1)})
    assert subject.ledger.publish(new, {"default": record(2)})
    assert numbers(subject.ledger) == {"default": 2}


def test_after_a_day_of_silence_tokens_still_grow(subject: Subject) -> None:
    old = take(subject.ledger, "a")
    subject.ledger.publish(old, {"default": record()})
    subject.advance(RECORD_EXPIRY_SECONDS)
    assert take(subject.ledger, "b").token > old.token
    assert not subject.ledger.publish(old, {"default": record()})


# --- publishing under it ---


def test_what_an_older_holder_publishes_is_refused(subject: Subject) -> None:
    """Frozen in the middle of a decision, it wakes up when another one has decided."""
    old = take(subject.ledger, "a")
    subject.advance(10.0)
    new = take(subject.ledger, "b")
    assert not subject.ledger.publish(old, {"default": record(1), "mail": record(1)})
    assert numbers(subject.ledger) == {}
    assert subject.ledger.publish(new, {"default": record(2)})
    assert not subject.ledger.publish(old, {"default": record(1), "mail": record(1)})
    assert numbers(subject.ledger) == {"default": 2}


def test_a_token_in_the_hands_of_another_is_worth_nothing(ledger: Ledger) -> None:
    mine = take(ledger, "a")
    forged = Lease(mine.name, "b", mine.token, None, mine.taken_at)
    assert not ledger.publish(forged, {"default": record()})
    ledger.release(forged)
    assert ledger.publish(mine, {"default": record(1)})


def test_a_lease_that_ran_out_while_nobody_took_it_still_counts(subject: Subject) -> None:
    lease = take(subject.ledger)
    subject.advance(60.0)
    assert subject.ledger.publish(lease, {"default": record(1)})
    assert numbers(subject.ledger) == {"default": 1}


def test_under_a_lease_that_was_given_back_nothing_is_published(ledger: Ledger) -> None:
    lease = take(ledger)
    ledger.release(lease)
    assert not ledger.publish(lease, {"default": record()})
    assert not ledger.publish(lease, {})
    assert numbers(ledger) == {}


def test_a_ledger_that_was_emptied_knows_no_token(subject: Subject) -> None:
    lease = take(subject.ledger)
    subject.empty()
    assert not subject.ledger.publish(lease, {"default": record()})
    subject.ledger.release(lease)
    assert numbers(subject.ledger) == {}
    assert take(subject.ledger, "b").holder == "b"


def test_whoever_leases_next_learns_when_something_was_decided_last(subject: Subject) -> None:
    lease = take(subject.ledger, "a")
    assert subject.ledger.publish(lease, {})  # nothing was decided
    assert take(subject.ledger, "a").decided_at is None
    assert subject.ledger.publish(lease, {"default": record()})
    decided_at = take(subject.ledger, "a").decided_at
    taken_at, records = subject.ledger.records()
    assert decided_at is not None
    assert decided_at == records["default"].decided_at
    assert 0.0 <= taken_at - decided_at < 5.0
    subject.advance(20.0)
    later = take(subject.ledger, "b")
    assert later.decided_at is not None
    assert 20.0 <= later.taken_at - later.decided_at < 25.0
    assert take(subject.ledger, "b", name="something else").decided_at is None
    subject.ledger.release(later)
    assert take(subject.ledger, "c").decided_at == later.decided_at


def test_one_record_that_cannot_be_written_keeps_all_out(ledger: Ledger) -> None:
    lease = take(ledger)
    assert ledger.publish(lease, {"a": record(1)})
    with pytest.raises(TypeError):
        ledger.publish(lease, {"a": record(2), "b": record(2), "c": Record({"number": object()}, None)})
    assert numbers(ledger) == {"a": 1}


def test_readers_see_all_of_it_or_nothing(subject: Subject) -> None:
    lease = take(subject.ledger, seconds=600.0)
    is_over = threading.Event()

    def publish() -> None:
        mine = subject.reopened()
        for number in range(200):
            mine.publish(lease, {f"queue{index}": record(number) for index in range(5)})
        is_over.set()

    writer = threading.Thread(target=publish)
    writer.start()
    torn = []
    while not is_over.is_set():
        found = numbers(subject.ledger)
        if len(set(found.values())) > 1 or len(found) not in (0, 5):
            torn.append(found)
    writer.join()
    assert torn == []
    assert numbers(subject.ledger) == {f"queue{index}": 199 for index in range(5)}


# --- what was decided ---


def test_a_record_comes_back_as_it_was_published(subject: Subject) -> None:
    lease = take(subject.ledger, "höst:1")
    assert subject.ledger.publish(
        lease, {"default": Record(DECISION, STATE, decided_at=1.0, holder="forged")}
    )
    for reader in (subject.ledger, subject.reopened()):
        taken_at, found = reader.records(states=True)
        assert set(found) == {"default"}
        known = found["default"]
        assert (known.decision, known.state, known.holder) == (DECISION, STATE, "höst:1")
        assert known.decided_at > 1_600_000_000.0
        assert 0.0 <= taken_at - known.decided_at < 5.0


def test_states_are_read_where_they_are_asked_for(ledger: Ledger) -> None:
    ledger.publish(take(ledger), {"default": Record(DECISION, STATE), "mail": Record(DECISION, {})})
    assert [found.state for found in ledger.records()[1].values()] == [None, None]
    assert [found.state for found in ledger.records(["mail"], states=True)[1].values()] == [{}]
    assert [found.decision for found in ledger.records()[1].values()] == [DECISION, DECISION]


def test_the_queues_asked_for_are_read(ledger: Ledger) -> None:
    ledger.publish(take(ledger), {name: record(index) for index, name in enumerate(["b", "a:b.c-d é", "c"])})
    assert list(ledger.records()[1]) == ["a:b.c-d é", "b", "c"]
    assert list(ledger.records(["c", "unknown", "a:b.c-d é"])[1]) == ["a:b.c-d é", "c"]
    assert ledger.records([])[1] == {}


def test_nothing_is_read_before_something_was_decided(ledger: Ledger) -> None:
    taken_at, found = ledger.records(states=True)
    assert found == {}
    assert taken_at == pytest.approx(ledger.snapshot().taken_at, abs=5.0)


def test_a_new_record_replaces_the_last_one_and_leaves_the_others(subject: Subject) -> None:
    lease = take(subject.ledger, "a")
    subject.ledger.publish(
        lease, {"default": Record({"number": 1}, STATE), "mail": Record({"number": 1}, STATE)}
    )
    subject.advance(10.0)
    subject.ledger.publish(take(subject.ledger, "b"), {"default": record(2)})
    taken_at, found = subject.ledger.records(states=True)
    assert numbers(subject.ledger) == {"default": 2, "mail": 1}
    assert (found["default"].state, found["mail"].state) == (None, STATE)
    assert (found["default"].holder, found["mail"].holder) == ("b", "a")
    ages = [taken_at - found[queue].decided_at for queue in ("default", "mail")]
    assert 0.0 <= ages[0] < 5.0
    assert 10.0 <= ages[1] < 15.0


def test_a_queue_that_nobody_decides_about_any_more_is_forgotten_after_a_day(subject: Subject) -> None:
    subject.ledger.publish(take(subject.ledger), {"old": record(1), "default": record(1)})
    subject.advance(RECORD_EXPIRY_SECONDS / 2)
    subject.ledger.publish(take(subject.ledger), {"default": record(2)})
    assert numbers(subject.ledger) == {"default": 2, "old": 1}
    subject.advance(RECORD_EXPIRY_SECONDS / 2)
    assert numbers(subject.ledger) == {"default": 2}
    assert subject.ledger.records(["old"])[1] == {}


def test_who_changes_what_he_has_read_or_written_changes_no_record(ledger: Ledger) -> None:
    written: dict[str, Any] = {"number": 1, "inputs": {"ready": 1}}
    ledger.publish(take(ledger), {"default": Record(written, None)})
    written["inputs"]["ready"] = 2
    for _ in range(2):
        read = ledger.records()[1]["default"].decision
        assert read == {"number": 1, "inputs": {"ready": 1}}
        read["inputs"]["ready"] = 3


# --- both alike ---

Steps = list[tuple[str, str]]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["lease", "lease", "publish", "publish", "release", "advance", "empty"]),
        st.sampled_from(["a", "b", "c"]),
    ),
    max_size=25,
)


def outcomes(subject: Subject, steps: Steps) -> list[Any]:
    """What comes of each step; the invariants of a lease hold at all of them."""
    held: dict[str, Lease] = {}
    highest, told = 0, []
    for number, (step, holder) in enumerate(steps):
        if step == "lease":
            lease = subject.ledger.lease("scaling", holder, 10.0)
            told.append(lease is not None)
            if lease is not None:
                is_renewed = holder in held and held[holder].token == highest
                assert lease.token > highest or (is_renewed and lease.token == highest)
                highest, held[holder] = lease.token, lease
        elif step == "publish" and holder in held:
            accepted = subject.ledger.publish(held[holder], {"default": record(number)})
            assert not accepted or held[holder].token == highest
            told.append((accepted, numbers(subject.ledger)))
        elif step == "release" and holder in held:
            subject.ledger.release(held[holder])
        elif step == "advance":
            subject.advance(5.0)
        elif step == "empty":
            subject.empty()
    return told


@given(STEPS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_both_ledgers_say_the_same(
    redis_client: Redis, valkey_url: str, steps: Steps
) -> None:
    redis_client.flushall()
    assert outcomes(InMemory(), steps) == outcomes(OnServer(redis_client, valkey_url), steps)
