"""Dead letters on SQS (moto's server): why they died, that a look loses none, and how they come back."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from dramatiq import Message

from littleq.backends.sqs import stock
from littleq.backends.sqs.dead_letters import SQSDeadLetters
from littleq.backends.sqs.wire import Parcel, body_of, decoded
from littleq.config import SLAQueueConfig
from littleq.job import Death
from tests.brokers.sqs import SQSApp
from tests.support import eventually

Make = Callable[..., SQSApp]
FAST = SLAQueueConfig("q", admission="off", min_backoff_seconds=0.01, max_backoff_seconds=0.02, max_retries=1)


def _fill(app: SQSApp, letters: int) -> None:
    """Letters 0, 1, … that died a minute apart, the last one just now."""
    parcels = []
    for number in range(letters):
        death = Death(
            reason="exhausted", exception=f"Error{number % 2}", at=time.time() - 60 * (letters - number)
        )
        message = Message("q", "a", (number,), {}, {"littleq": {"dead": death, "ready_at": 1.0}})
        parcels.append(Parcel(body_of(message)))
    app.broker.outbox.send_all(app.broker.place("q").dead, parcels)


def _ids(app: SQSApp) -> list[tuple[int, ...]]:
    return [letter.args for letter in app.backend.dead_letters.letters("q")]


def test_a_job_that_fails_for_good_is_kept_with_its_reason_and_comes_back(sqs_app: Make) -> None:
    app = sqs_app(FAST)
    ran: list[str] = []

    def fail_twice(name: str) -> None:
        ran.append(name)
        if len(ran) <= 2:
            raise ValueError("row 7")

    sent = app.actor(fail_twice, actor_name="a", queue_name="q").send("x")
    app.work()
    eventually(lambda: app.truth().dead == 1 and app.idle())
    store = app.backend.dead_letters
    (letter,) = store.letters("q")
    assert (letter.message_id, letter.actor, letter.args) == (sent.message_id, "a", ("x",))
    assert (letter.death["reason"], letter.death["exception"], letter.death["message"]) == (
        "exhausted",
        "builtins.ValueError",
        "row 7",
    )
    assert letter.death["attempts"] == 2
    assert "in fail_twice" in letter.death["traceback"]
    assert store.get("q", letter.letter_id) == letter
    assert store.whereabouts("q", [letter]) == {letter.letter_id: "dead"}
    assert store.replay("q", letter.letter_id)
    assert not store.replay("q", letter.letter_id)
    eventually(lambda: len(ran) == 3)
    eventually(app.idle)
    assert store.whereabouts("q", [letter]) == {letter.letter_id: "gone"}
    assert app.truth().dead == 0


def test_a_job_of_an_unknown_actor_is_dead_lettered(sqs_app: Make) -> None:
    app = sqs_app(FAST)
    app.actor(lambda: None, actor_name="a", queue_name="q")
    app.broker.enqueue(Message("q", "nobody", (), {}, {}))
    app.work()
    eventually(lambda: app.truth().dead == 1 and app.idle())
    (letter,) = app.backend.dead_letters.letters("q")
    assert letter.death["reason"] == "undeliverable"


def test_letters_are_listed_by_age_filtered_grouped_and_purged(sqs_app: Make) -> None:
    app = sqs_app(FAST)
    _fill(app, 15)
    store = app.backend.dead_letters
    assert _ids(app) == [(number,) for number in range(15)]
    assert _ids(app) == [(number,) for number in range(15)], "the look before gave them back"
    assert store.count("q") == 15
    assert store.count("q", actor="a") is None
    assert [group.letters for group in store.groups("q")] == [8, 7]
    old = list(store.letter_ids("q", until=time.time() - 10.5 * 60))
    assert len(old) == 5
    app.requests.clear()
    assert store.purge("q", old) == 5
    assert app.requests.count("ReceiveMessage") <= 2, "each letter is received once, not once a purge"
    assert store.expire("q", older_than_seconds=5.5 * 60) == 5
    assert _ids(app) == [(number,) for number in range(10, 15)]


def test_replaying_many_receives_each_letter_once(sqs_app: Make) -> None:
    app = sqs_app(FAST)
    _fill(app, 12)
    store = app.backend.dead_letters
    ids = list(store.letter_ids("q"))
    app.requests.clear()
    assert all(store.replay("q", letter_id) for letter_id in ids)
    assert app.requests.count("ReceiveMessage") <= 3
    truth = app.truth()
    assert (truth.ready, truth.dead) == (12, 0)


def test_a_browser_that_is_killed_loses_no_letter(sqs_app: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is given back: the letters show again when their time is over."""
    monkeypatch.setattr(stock, "HIDE_SECONDS", 1)
    app = sqs_app(FAST)
    _fill(app, 3)
    browser = stock.Stock(app.broker, "q")
    assert len(browser.all()) == 3
    assert _ids(app) == [], "another one does not see them meanwhile"
    eventually(lambda: len(_ids(app)) == 3, 5, "all three letters")


def test_what_a_replay_leaves_is_shown_to_others_soon(sqs_app: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stock, "IDLE_SECONDS", 0.3)
    app = sqs_app(FAST)
    _fill(app, 3)
    letter = next(iter(app.backend.dead_letters.letters("q")))
    assert app.backend.dead_letters.replay("q", letter.letter_id)
    other = SQSDeadLetters(app.broker)
    eventually(lambda: len(list(other.letters("q"))) == 2, 5, "the other two")


def test_a_traceback_that_makes_a_letter_too_large_is_left_out(sqs_app: Make) -> None:
    app = sqs_app(FAST)
    app.broker.place("q")
    death = Death(
        reason="exhausted", exception="E", traceback="t" * 100_000, message="m" * 50_000, at=time.time()
    )
    message = Message(
        "q", "a", ("x" * 700_000,), {}, {"littleq": {"dead": death}, "traceback": "t" * 100_000}
    )
    app.broker.dead_letter("q", app.broker_proxy(message))
    (letter,) = app.backend.dead_letters.letters("q")
    assert letter.args == message.args
    assert letter.death["reason"] == "exhausted"
    assert "traceback" not in letter.death


def test_a_job_that_sqs_itself_gave_up_is_among_the_dead(sqs_app: Make, moto_server: object) -> None:
    """The backstop, where nobody counts: `max_receives` of the redrive policy."""
    app = sqs_app(FAST, url=moto_server.url(max_receives=2), visibility=2)  # type: ignore[attr-defined]
    actor = app.actor(lambda: None, actor_name="a", queue_name="q")
    actor.send()
    place, client = app.broker.place("q"), app.broker.clients.quick
    for _ in range(2):
        (found,) = client.receive_message(QueueUrl=place.url, VisibilityTimeout=60)["Messages"]
        client.change_message_visibility(
            QueueUrl=place.url, ReceiptHandle=found["ReceiptHandle"], VisibilityTimeout=0
        )
        time.sleep(0.01)
    assert "Messages" not in client.receive_message(QueueUrl=place.url)
    assert app.truth().dead == 1
    (letter,) = app.backend.dead_letters.letters("q")
    assert (
        decoded(client.receive_message(QueueUrl=place.dead)["Messages"][0]["Body"]).message_id
        == letter.message_id
    )
