"""Dead letters on a real server: why they died, that they are kept, and how they come back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dramatiq import Message, Middleware

from littleq import job
from littleq.config import SLAQueueConfig
from tests.support import eventually

Make = Callable[..., Any]
FAST = SLAQueueConfig("q", admission="off", min_backoff_seconds=0.01, max_backoff_seconds=0.05, max_retries=2)


def test_a_job_that_kills_its_workers_is_set_aside(make_app: Make) -> None:
    """Hazard 12: stock Dramatiq redelivers it for ever."""
    app = make_app(SLAQueueConfig("q", admission="off"), heartbeat_timeout=1000)
    app.actor(lambda: None, actor_name="a", queue_name="q").send()
    client = app.broker.client
    deaths = 0
    while app.truth().dead == 0:
        victim = make_app(SLAQueueConfig("q", admission="off"), maintenance_chance=0, heartbeat_timeout=1000)
        assert next(victim.broker.consume("q", prefetch=1)) is not None
        client.zadd("dramatiq:__heartbeats__", {victim.broker.broker_id: 0})
        deaths += 1
        app.broker.do_qsize("q")  # any command does maintenance here
    assert deaths == 5
    (letter,) = app.backend.dead_letters.letters("q")
    assert (letter.death["reason"], letter.death["attempts"]) == ("poison", 5)
    assert app.truth().imbalance == 0
    assert client.hlen("littleq:dramatiq:q:deliveries") == 0
    assert app.backend.dead_letters.replay("q", letter.letter_id)
    assert client.hlen("littleq:dramatiq:q:poison") == 0


def test_a_dead_letter_carries_its_reason_on_the_server(make_app: Make) -> None:
    app = make_app(FAST)

    def fail() -> None:
        raise ValueError("row 7")

    app.actor(fail, actor_name="a", queue_name="q", max_retries=0).send()
    app.work()
    eventually(lambda: app.truth().dead == 1)
    (data,) = app.broker.client.hvals("dramatiq:q.XQ.msgs")
    death = job.read(Message.decode(data).options)["dead"]
    assert (death["reason"], death["exception"], death["message"]) == (
        "exhausted",
        "builtins.ValueError",
        "row 7",
    )
    assert "in fail" in death["traceback"]


def test_dead_letters_are_kept_and_pages_are_complete(make_app: Make) -> None:
    """Hazard 13: Dramatiq forgets them after a week. Many died in the same millisecond."""
    app = make_app(FAST)
    app.actor(lambda: None, actor_name="a", queue_name="q")
    encoded = app.broker.get_actor("a").message().encode()
    pipe = app.broker.client.pipeline()
    for number in range(1300):
        pipe.zadd("dramatiq:q.XQ", {f"id-{number}": 1000 + number // 400})
        pipe.hset("dramatiq:q.XQ.msgs", f"id-{number}", encoded)
    pipe.execute()
    app.broker.do_qsize("q")  # maintenance would expire them: they died in 1970
    letters = list(app.backend.dead_letters.letters("q"))
    assert len({letter.letter_id for letter in letters}) == len(letters) == 1300
    assert [letter.died_at for letter in letters] == sorted(letter.died_at for letter in letters)


def test_an_undecodable_letter_is_listed_and_can_be_purged(make_app: Make) -> None:
    app = make_app(FAST)
    app.actor(lambda: None, actor_name="a", queue_name="q")
    app.broker.client.zadd("dramatiq:q.XQ", {"bad": 1000})
    app.broker.client.hset("dramatiq:q.XQ.msgs", "bad", b"\xff not json")
    (letter,) = app.backend.dead_letters.letters("q")
    assert letter.death["reason"] == "undeliverable"
    assert app.backend.dead_letters.purge("q", ["bad"]) == 1


def test_a_hook_that_sends_a_dead_job_once_more_sends_it(make_app: Make) -> None:
    """An app's own redrive, after the nack: nobody holds the job any more, and in its place nothing would be put."""
    app = make_app(FAST)
    runs: list[int] = []

    class Redrive(Middleware):
        def after_nack(self, broker: Any, message: Any) -> None:
            if len(runs) == 1:
                broker.enqueue(message)

    app.broker.add_middleware(Redrive())

    def fail_once() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise RuntimeError

    app.actor(fail_once, actor_name="a", queue_name="q", max_retries=0).send()
    app.work()
    eventually(lambda: len(runs) == 2, seconds=5, what="the second run")
    eventually(app.idle)
    truth = app.truth()
    assert (truth.accounts.admitted, truth.accounts.done, truth.dead, truth.imbalance) == (2, 1, 1, 0)
