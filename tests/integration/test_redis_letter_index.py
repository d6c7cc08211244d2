"""The index of dead letters on a real server: it agrees with the letters after whatever moves them, and it streams."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from typing import Any

import pytest
from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from littleq.backends import backend_for
from littleq.backends.redis.dead_letters import RedisDeadLetters
from littleq.backends.redis.scripts import lua
from littleq.dead_letters import fingerprint, fingerprint_of, grouped

DEAD, OWN = "dramatiq:q.XQ", "littleq:dramatiq:q:"
ACTORS, PLACES = ("send", "fetch"), (1, 2)
#: Dies as our own broker lets a job die: indexed in the same step.
DIE = """
redis.call("ZADD", KEYS[1] .. ":q.XQ", ARGV[2], ARGV[1])
redis.call("HSET", KEYS[1] .. ":q.XQ.msgs", ARGV[1], ARGV[3])
index_letter(KEYS[1], "q", ARGV[1], ARGV[2], ARGV[4], ARGV[5])
"""


class Morgue:
    """Lets jobs die in queue q in all the ways that there are."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.store = RedisDeadLetters(RedisBroker(client=client))
        self.script = client.register_script(lua("letters") + DIE)
        self.begin()

    def begin(self) -> None:
        """With no letters, ten hours ago by the server's clock."""
        self.client.flushall()
        self.lost: set[bytes] = set()
        self.now = int(self.store.now() * 1000) - 36_000_000

    def message(self, number: int, actor: str = "send", line: int = 1) -> Message[Any]:
        death = {
            "reason": "exhausted",
            "exception": "builtins.ValueError",
            "traceback": f'  File "/srv/mail.py", line {line}, in f\n',
        }
        options = {"redis_message_id": f"id-{number}", "littleq": {"ready_at": 1.0, "dead": death}}
        return Message("q", actor, (number,), {}, options, f"m-{number}", 0)

    def die(self, message: Message[Any], age: float) -> None:
        """As with our broker."""
        key = fingerprint_of(message.actor_name, message.options["littleq"]["dead"]).key
        args = [
            message.options["redis_message_id"],
            self.died(age),
            message.encode(),
            message.actor_name,
            key,
        ]
        self.script(keys=["dramatiq"], args=args)

    def die_elsewhere(self, messages: Iterable[Message[Any]], age: float) -> None:
        """As with Dramatiq's own broker."""
        pipe = self.client.pipeline()
        for message in messages:
            pipe.zadd(DEAD, {message.options["redis_message_id"]: self.died(age)})
            pipe.hset(DEAD + ".msgs", message.options["redis_message_id"], message.encode())
        pipe.execute()

    def lose_elsewhere(self, age: float) -> None:
        """As Dramatiq lets letters of this age expire, or deletes all of a queue. No job comes back from that."""
        old = self.client.zrangebyscore(DEAD, 0, self.died(age))
        self.lost.update(old)
        if old:
            self.client.zrem(DEAD, *old)
            self.client.hdel(DEAD + ".msgs", *old)

    def expire(self, age: float) -> int:
        return self.store.expire("q", self.store.now() - self.died(age) / 1000)

    def died(self, age: float) -> int:
        return self.now - round(age * 1000)

    def index_agrees(self) -> None:
        """Each letter is indexed under what it is, nothing else is, and no key is left over."""
        dead = dict(self.client.zrange(DEAD, 0, -1, withscores=True))
        assert set(self.client.hkeys(DEAD + ".msgs")) == set(dead)
        expected: dict[bytes, dict[bytes, float]] = {}
        actors, keys = set(), set()
        for letter in self.store.letters("q"):
            mark, letter_id = fingerprint(letter), letter.letter_id.encode()
            actors.add(letter.actor.encode())
            keys.add(mark.key.encode())
            for name in (f"{letter.actor}:by_actor", f"{mark.key}:by_fingerprint"):
                expected.setdefault(f"{OWN}dead:{name}".encode(), {})[letter_id] = dead[letter_id]
        found = {key: key.decode().removeprefix(OWN + "dead:") for key in self.client.keys(OWN + "dead:*")}
        sets = {key for key, name in found.items() if ":" in name}
        assert {key: dict(self.client.zrange(key, 0, -1, withscores=True)) for key in sets} == expected
        assert set(self.client.hkeys(OWN + "dead:index")) == set(dead)
        assert self.client.smembers(OWN + "dead:actors") == actors
        assert self.client.smembers(OWN + "dead:fingerprints") == keys


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
    """Else each look at the index would be a look at all letters."""
    morgue.die_elsewhere((morgue.message(number) for number in range(1200)), age=100)
    assert morgue.store.count("q", actor="send") == 1200
    morgue.die_elsewhere([morgue.message(2000)], age=1)
    read: list[str] = []
    stock = morgue.store._index._read
    monkeypatch.setattr(
        morgue.store._index,
        "_read",
        lambda queue, rows: read.extend(i.decode() for i, _ in rows) or stock(queue, rows),
    )
    assert morgue.store.count("q", actor="send") == 1201
    assert read == ["id-2000"]


def test_an_index_that_was_damaged_by_hand_is_made_anew(morgue: Morgue) -> None:
    for number in range(3):
        morgue.die(morgue.message(number), age=10 - number)
    morgue.client.zrem(DEAD, "id-1")  # neither the oldest nor all: nobody but a human does this
    morgue.client.hdel(DEAD + ".msgs", "id-1")
    assert morgue.store.count("q", actor="send") == 2
    morgue.index_agrees()


def test_letters_that_cannot_be_read_are_indexed_too(morgue: Morgue) -> None:
    """One cannot be decoded, one has lost its data; a poison job says nothing about its death itself."""
    morgue.client.zadd(DEAD, {"bad": 1, "empty": 2, "poison": 3})
    poison = morgue.message(1)
    del poison.options["littleq"]["dead"]
    morgue.client.hset(DEAD + ".msgs", mapping={"bad": b"\xff", "poison": poison.encode()})
    morgue.client.hset(OWN + "poison", "poison", 5)
    assert [letter.letter_id for letter in morgue.store.letters("q", actor="?")] == ["bad"]
    reasons = {group.fingerprint.reason for group in morgue.store.groups("q")}
    assert reasons == {"undeliverable", "poison"}
    assert morgue.client.hlen(OWN + "dead:index") == 3
    assert morgue.store.purge("q", ["bad", "empty", "poison"]) == 3
    assert not morgue.client.keys(OWN + "dead:*")


def test_an_actor_of_any_name_makes_no_queue_appear(morgue: Morgue) -> None:
    """Keys of ours are looked for by how they end."""
    for number, actor in enumerate(("accounts", "x:accounts", "a.b", "")):
        morgue.die(morgue.message(number, actor), age=1)
        assert [letter.actor for letter in morgue.store.letters("q", actor=actor)] == [actor]
    morgue.index_agrees()
    broker = RedisBroker(client=morgue.client)
    assert backend_for(broker).inspector.queues() == {"q"}


def test_expired_letters_are_purged_page_by_page_and_counted(morgue: Morgue) -> None:
    morgue.die_elsewhere((morgue.message(number) for number in range(1100)), age=7200)
    morgue.die(morgue.message(2000), age=10)
    assert morgue.store.count("q", actor="send") == 1101
    assert morgue.expire(3600) == 1100
    assert morgue.expire(3600) == 0
    assert [letter.letter_id for letter in morgue.store.letters("q")] == ["id-2000"]
    morgue.index_agrees()
    assert morgue.client.hget(OWN + "accounts", "purged") == b"1100"


def test_a_letter_that_goes_while_we_read_is_passed_over_and_pages_stay_whole(morgue: Morgue) -> None:
    for number in range(1300):
        morgue.die_elsewhere([morgue.message(number)], age=(1300 - number) // 200)
    seen = []
    for letter in morgue.store.letters("q", actor="send"):
        seen.append(letter.letter_id)
        if len(seen) == 1:
            morgue.store.purge("q", [f"id-{number}" for number in range(100, 700)])
    # The page that was read already still shows what it held; what was purged beyond it does not come.
    assert len(seen) == len(set(seen))
    gone = {f"id-{number}" for number in range(500, 700)}
    assert set(seen) | gone == {f"id-{number}" for number in range(1300)}


@pytest.mark.parametrize("by", ["time", "actor"])
def test_memory_does_not_grow_with_the_letters(morgue: Morgue, by: str) -> None:
    """A tenth of them needs as much as all 20,000."""
    wanted: Any = {} if by == "time" else {"actor": "send"}

    def peak() -> int:
        assert morgue.store.count("q", **wanted) == morgue.client.zcard(DEAD)
        tracemalloc.start()
        try:
            dead = sum(1 for _ in morgue.store.letters("q", **wanted))
            assert dead == morgue.client.zcard(DEAD)
            assert len(morgue.store.groups("q", **wanted)) == 1
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def fill(numbers: range) -> None:
        for first in range(numbers.start, numbers.stop, 500):
            page = range(first, min(first + 500, numbers.stop))
            morgue.die_elsewhere(map(morgue.message, page), age=20_000 - first)

    fill(range(2000))
    few = peak()
    fill(range(2000, 20_000))
    assert peak() < 1.5 * few


def test_a_replayed_job_wakes_a_worker_that_waits(morgue: Morgue) -> None:
    """The token lies in the worker's list: it is there even if the worker does not block yet."""
    morgue.die(morgue.message(1), age=1)
    morgue.client.zadd(OWN + "waiting", {"littleq-worker": 9e15})
    morgue.client.rpush("dramatiq:q", "living")
    assert morgue.store.replay("q", "id-1")
    assert morgue.client.llen(OWN + "wake:littleq-worker") == 1
    assert morgue.client.lrange("dramatiq:q", 0, -1) == [b"living", b"id-1"]  # to the tail
    assert not morgue.store.replay("q", "id-1")
    assert morgue.client.llen(OWN + "wake:littleq-worker") == 1


def test_whereabouts_of_replayed_jobs(morgue: Morgue) -> None:
    for number in range(6):
        morgue.die(morgue.message(number), age=1)
    letters = list(morgue.store.letters("q"))
    for letter in letters[:5]:
        assert morgue.store.replay("q", letter.letter_id)
    client = morgue.client
    for number in (1, 2, 3, 4):  # left the queue …
        client.hdel("dramatiq:q.msgs", f"id-{number}")
    client.hset("dramatiq:q.DQ.msgs", "m-1.x", morgue.message(1).encode())  # … for our schedule
    client.zadd(OWN + "schedule:ids", {"m-1.x": 0, "m-11.x": 0})
    client.hset("dramatiq:q.DQ.msgs", "uuid-2", morgue.message(2).encode())  # … for a stock retry
    client.hset("dramatiq:q.msgs", "m-3.y", morgue.message(3).encode())  # … for a retry that is due again
    quick = {
        "id-0": "queued",
        "id-1": "delayed",
        "id-2": "gone",
        "id-3": "gone",
        "id-4": "gone",
        "id-5": "dead",
    }
    assert morgue.store.whereabouts("q", letters) == quick
    searched = {**quick, "id-2": "delayed", "id-3": "queued"}
    assert morgue.store.whereabouts("q", letters, thorough=True) == searched
    assert morgue.store.whereabouts("q", []) == {}
