"""The dead letters of a StubBroker: the same interface as on a server, in memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from dramatiq import Message
from dramatiq.broker import MessageProxy
from dramatiq.brokers.stub import StubBroker

from littleq.backends import backend_for
from littleq.dead_letters import fingerprint

NOW = 1_800_000_000.0


@pytest.fixture
def broker() -> Iterator[StubBroker]:
    """Letters 0 to 3 of queue q, an hour apart, the last one first; odd ones are of `fetch`."""
    broker = StubBroker()
    broker.declare_queue("q")
    for number in (3, 2, 1, 0):
        death = {"reason": "exhausted", "exception": "builtins.ValueError", "at": NOW + 3600 * number}
        options = {"littleq": {"ready_at": 1.0, "dead": death}}
        actor = "fetch" if number % 2 else "send"
        broker.dead_letters_by_queue["q"].append(
            MessageProxy(Message("q", actor, (number,), {}, options, f"m-{number}", 0))
        )
    yield broker
    broker.close()


def ids(letters: Any) -> list[str]:
    return [letter.letter_id for letter in letters]


def test_letters_are_filtered_counted_and_grouped(broker: StubBroker) -> None:
    store = backend_for(broker).dead_letters
    assert ids(store.letters("q")) == ["m-0", "m-1", "m-2", "m-3"]
    assert ids(store.letters("q", actor="fetch")) == ["m-1", "m-3"]
    assert ids(store.letters("q", since=NOW + 3600, until=NOW + 3 * 3600)) == ["m-1", "m-2"]
    key = fingerprint(next(store.letters("q", actor="send"))).key
    assert list(store.letter_ids("q", fingerprint=key)) == ["m-0", "m-2"]
    assert store.count("q", fingerprint=key, since=NOW + 1) == 1
    groups = store.groups("q", until=NOW + 3 * 3600)
    assert [(group.fingerprint.actor, group.letters, group.first_at) for group in groups] == [
        ("send", 2, NOW),
        ("fetch", 1, NOW + 3600),
    ]
    assert store.count("unknown") == 0


def test_old_letters_expire_and_count_as_purged(broker: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = backend_for(broker)
    monkeypatch.setattr(time, "time", lambda: NOW + 4 * 3600)
    assert backend.dead_letters.expire("q", older_than_seconds=2.5 * 3600) == 2
    assert ids(backend.dead_letters.letters("q")) == ["m-2", "m-3"]
    assert backend.inspector.truth(["q"])["q"].accounts.purged == 2  # type: ignore[union-attr]


def test_a_replayed_job_is_followed_until_it_is_done(broker: StubBroker) -> None:
    store = backend_for(broker).dead_letters
    letters = list(store.letters("q"))[:2]
    assert store.whereabouts("q", letters) == {"m-0": "dead", "m-1": "dead"}
    assert store.replay("q", "m-0")
    assert store.whereabouts("q", letters) == {"m-0": "queued", "m-1": "dead"}
    consumer = broker.consume("q")
    held = next(consumer)
    assert store.whereabouts("q", letters)["m-0"] == "queued"  # a worker has it
    assert held is not None
    consumer.ack(held)
    assert store.whereabouts("q", letters) == {"m-0": "gone", "m-1": "dead"}
    broker.enqueue(held._message, delay=60_000)
    assert store.whereabouts("q", letters)["m-0"] == "delayed"
