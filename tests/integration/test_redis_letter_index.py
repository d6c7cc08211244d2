"""The index of dead letters on a real server agrees with the letters after whatever moves them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from littleq.dead_letters import fingerprint, fingerprint_of, grouped
from tests.integration.morgue import DEAD, Morgue

ACTORS, PLACES = ("send", "fetch"), (1, 2)


@pytest.fixture
def morgue(redis_client: Any) -> Morgue:
    return Morgue(redis_client)


NUMBERS = st.integers(0, 7)
HOURS = st.integers(0, 4).map(lambda hours: 3600.0 * hours)
SKEWED = st.integers(-2, 4).map(lambda hours: 3600.0 * hours)
BODIES = st.tuples(NUMBERS, st.sampled_from(ACTORS), st.sampled_from(PLACES), HOURS)
OURS = st.one_of(
    # By the server's clock: now.
    st.tuples(
        st.just("die"), st.tuples(NUMBERS, st.sampled_from(ACTORS), st.sampled_from(PLACES), st.just(0.0))
    ),
    st.tuples(st.just("replay"), NUMBERS),
    st.tuples(st.just("purge"), st.lists(NUMBERS)),
    st.tuples(st.just("expire"), HOURS),
    st.tuples(st.just("look"), st.none()),
)
THEIRS = st.one_of(
    # By another host's clock.
    st.tuples(
        st.just("die_elsewhere"), st.tuples(NUMBERS, st.sampled_from(ACTORS), st.sampled_from(PLACES), SKEWED)
    ),
    st.tuples(st.just("lose_elsewhere"), st.one_of(HOURS, st.just(-1e6))),
)
ON_A_SERVER = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def perform(morgue: Morgue, step: str, what: Any) -> None:
    """One step, and half an hour later."""
    if step in {"die", "die_elsewhere"}:
        number, actor, line, age = what
        letter_id = f"id-{number}"
        if morgue.client.zscore(DEAD, letter_id) is not None or letter_id.encode() in morgue.lost:
            return  # nothing that could die
        if step == "die":
            morgue.die(morgue.message(number, actor, line), age)
        else:
            morgue.die_elsewhere([morgue.message(number, actor, line)], age)
    elif step == "replay":
        was_dead = morgue.client.zscore(DEAD, f"id-{what}") is not None
        assert morgue.store.replay("q", f"id-{what}") is was_dead
    elif step == "purge":
        morgue.store.purge("q", [f"id-{number}" for number in what])
    elif step == "expire":
        morgue.expire(what)
    elif step == "look":
        morgue.store.groups("q")
    else:
        morgue.lose_elsewhere(what)
    morgue.now += 1_800_000


@ON_A_SERVER
@given(steps=st.lists(OURS, max_size=12))
def test_the_index_agrees_at_every_instant_while_only_we_move_letters(
    morgue: Morgue, steps: list[Any]
) -> None:
    morgue.begin()
    for step, what in steps:
        perform(morgue, step, what)
        morgue.index_agrees()


@ON_A_SERVER
@given(steps=st.lists(st.one_of(OURS, THEIRS), max_size=16))
def test_whoever_asks_for_the_index_finds_it_complete(morgue: Morgue, steps: list[Any]) -> None:
    """Plain Dramatiq adds letters, and takes them away, without a word to the index."""
    morgue.begin()
    for step, what in steps:
        perform(morgue, step, what)
    morgue.store.groups("q")
    morgue.index_agrees()


@ON_A_SERVER
@given(
    bodies=st.lists(BODIES, unique_by=lambda body: body[0]),
    actor=st.sampled_from((None, "nobody", *ACTORS)),
    line=st.sampled_from((None, *PLACES)),
    since=st.none() | HOURS,
    until=st.none() | HOURS,
)
def test_filters_find_what_a_look_at_each_letter_would_find(
    morgue: Morgue,
    bodies: list[Any],
    actor: str | None,
    line: int | None,
    since: float | None,
    until: float | None,
) -> None:
    morgue.begin()
    for number, actor_name, place, age in bodies:
        message = morgue.message(number, actor_name, place)
        morgue.die(message, age) if number % 2 else morgue.die_elsewhere([message], age)
    key = None
    if line is not None:
        key = fingerprint_of("send", morgue.message(0, "send", line).options["littleq"]["dead"]).key
    wanted: Any = {
        "actor": actor,
        "fingerprint": key,
        "since": None if since is None else morgue.died(since) / 1000,
        "until": None if until is None else morgue.died(until) / 1000,
    }
    expected = [
        letter.letter_id
        for letter in morgue.store.letters("q")
        if actor in (None, letter.actor)
        and key in (None, fingerprint(letter).key)
        and (since is None or round(letter.died_at * 1000) >= morgue.died(since))
        and (until is None or round(letter.died_at * 1000) < morgue.died(until))
    ]
    found = list(morgue.store.letters("q", **wanted))
    assert [letter.letter_id for letter in found] == expected
    assert list(morgue.store.letter_ids("q", **wanted)) == expected
    assert morgue.store.count("q", **wanted) == len(expected)
    groups = {group.fingerprint: group for group in morgue.store.groups("q", **wanted)}
    read = {group.fingerprint: group for group in grouped(found)}
    assert {mark: (g.letters, g.first_at, g.last_at) for mark, g in groups.items()} == {
        mark: (g.letters, g.first_at, g.last_at) for mark, g in read.items()
    }


def test_what_has_no_entry_is_read_and_nothing_else(morgue: Morgue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each look at the index would be a look at all letters. The new ones stand last: one page finds them."""
    morgue.die_elsewhere((morgue.message(number) for number in range(1200)), age=100)
    assert morgue.store.count("q", actor="send") == 1200
    morgue.die_elsewhere([morgue.message(2000)], age=1)
    read: list[str] = []
    stock = morgue.store._index._read

    def reading(queue: str, rows: list[Any]) -> Any:
        read.extend(letter_id.decode() for letter_id, _ in rows)
        return stock(queue, rows)

    monkeypatch.setattr(morgue.store._index, "_read", reading)
    morgue.client.config_resetstat()
    assert morgue.store.count("q", actor="send") == 1201
    assert read == ["id-2000"]
    calls = morgue.client.info("commandstats")
    pages = [
        calls.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("zrangebyscore", "zrevrangebyscore")
    ]
    assert sum(pages) == 1


def test_what_changes_between_reading_and_indexing_is_not_indexed_as_it_was(
    morgue: Morgue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three are read as accident 1. One is purged, two are replayed and die of accident 2, here and elsewhere."""
    morgue.die_elsewhere(map(morgue.message, range(3)), age=100)
    stock = morgue.store._index._read

    def reading(queue: str, rows: list[Any]) -> Any:
        letters = list(stock(queue, rows))
        monkeypatch.undo()
        morgue.store.purge("q", ["id-0"])
        for number in (1, 2):
            assert morgue.store.replay("q", f"id-{number}")
        morgue.die(morgue.message(1, line=2), age=100)  # at the same time: nothing but its entry tells
        morgue.die_elsewhere([morgue.message(2, line=2)], age=1)
        return letters

    monkeypatch.setattr(morgue.store._index, "_read", reading)
    morgue.store.count("q", actor="send")
    assert set(morgue.client.hkeys("littleq:dramatiq:q:dead:index")) == {b"id-1"}
    (group,) = morgue.store.groups("q")
    assert (group.letters, group.fingerprint.place) == (2, "srv/mail.py:2 in f")
    morgue.index_agrees()


def test_an_index_that_was_damaged_by_hand_is_made_anew(morgue: Morgue) -> None:
    for number in range(3):
        morgue.die(morgue.message(number), age=10 - number)
    morgue.client.zrem(DEAD, "id-1")  # neither the oldest nor all: nobody but a human does this
    morgue.client.hdel(DEAD + ".msgs", "id-1")
    assert morgue.store.count("q", actor="send") == 2
    morgue.index_agrees()


def test_an_entry_from_a_clock_that_was_ahead_is_not_taken_for_a_letter(morgue: Morgue) -> None:
    """It is not the oldest, and a letter without an entry makes up for it in the count."""
    morgue.die_elsewhere([morgue.message(1)], age=-3600)
    assert morgue.store.count("q", actor="send") == 1
    morgue.lose_elsewhere(-1e6)
    morgue.die(morgue.message(2), age=0)
    morgue.die_elsewhere([morgue.message(3)], age=0)
    assert morgue.store.count("q", actor="send") == 2
    morgue.index_agrees()
