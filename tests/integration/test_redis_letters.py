"""Dead letters on a real server: streamed, expired, replayed, found again, whatever they are."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from dramatiq.brokers.redis import RedisBroker

from littleq.backends import backend_for
from littleq.cli.root import run
from tests.integration.morgue import DEAD, OWN, Morgue


@pytest.fixture
def morgue(redis_client: Any) -> Morgue:
    return Morgue(redis_client)


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


@pytest.mark.parametrize(
    "changes",
    [
        {"actor_name": None},
        {"actor_name": "\ud800"},
        {"message_id": None},
        {"options": 5},
        {"options": {"littleq": 5}},
        {"options": {"littleq": {"dead": 5}}},
        {"options": {"littleq": {"dead": {"reason": 5, "exception": [], "traceback": {"a": 1}}}}},
    ],
    ids=str,
)
def test_a_strange_letter_spoils_nothing(
    morgue: Morgue, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch, valkey_url: str
) -> None:
    """Whoever can send to the server can put anything there: it is listed, grouped and purged like all others."""
    monkeypatch.setenv("LITTLEQ_CONFIG", "")
    strange = json.dumps({**json.loads(morgue.message(1).encode()), **changes})
    morgue.client.zadd(DEAD, {"strange": 1})
    morgue.client.hset(DEAD + ".msgs", "strange", strange)
    morgue.die(morgue.message(2), age=1)
    assert sum(group.letters for group in morgue.store.groups("q")) == 2
    assert list(morgue.store.letter_ids("q", actor="send"))[-1] == "id-2"
    for arguments in (
        ["list"],
        ["list", "--json"],
        ["list", "--group"],
        ["show", "strange"],
        ["purge", "--all", "--yes"],
    ):
        assert run(("dlq", *arguments, "--redis", valkey_url)) == 0
    assert not morgue.client.exists(DEAD)


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
    """20,000 need what a tenth of them does, but for what other threads and the garbage collector do meanwhile: far
    less than the ids alone would take, which is some 70 bytes each."""
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
    assert peak() - few < 18_000 * 35


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
    client.zadd(OWN + "schedule:ids", {"m-1.x": 0, "m-11.x": 0, "m-4-1.x": 0})
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
