"""Dead letters on a real server: why they died, that they are kept, and how they come back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dramatiq import Message, Middleware

from littleq import job
from littleq.cli.root import run
from littleq.config import SLAQueueConfig
from littleq.dead_letters import fingerprint
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


INDEX = "littleq:dramatiq:q:dead:index"


def test_a_job_is_indexed_in_the_step_in_which_it_dies(our_app: Make) -> None:
    """Under what a reader of the letter will call it, though nobody asked for the index yet."""
    app = our_app(FAST)

    def fail() -> None:
        raise ValueError("row 7")

    app.actor(fail, actor_name="a", queue_name="q", max_retries=0).send()
    app.work()
    eventually(lambda: app.truth().dead == 1)
    (letter,) = app.backend.dead_letters.letters("q")
    entry = f"{fingerprint(letter).key}:a".encode()
    assert app.client.hgetall(INDEX) == {letter.letter_id.encode(): entry}
    app.broker.flush("q")
    assert not app.client.keys("littleq:dramatiq:q:dead:*")


def test_the_stock_broker_and_its_poison_are_found_by_the_index_all_the_same(make_app: Make) -> None:
    app = make_app(FAST)

    def fail() -> None:
        raise ValueError("row 7")

    app.actor(fail, actor_name="a", queue_name="q", max_retries=0).send()
    app.work()
    eventually(lambda: app.truth().dead == 1)
    assert not app.broker.client.exists(INDEX)
    (group,) = app.backend.dead_letters.groups("q", actor="a")
    assert group.fingerprint.exception == "builtins.ValueError"
    assert app.backend.dead_letters.count("q", fingerprint=group.fingerprint.key) == 1
    app.broker.flush("q")
    assert app.backend.dead_letters.count("q", actor="a") == 0
    assert not app.broker.client.keys("littleq:dramatiq:q:dead:*")


class Patient:
    """An actor that fails while it is ill, three of whose jobs have died."""

    def __init__(self, app: Any, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
        monkeypatch.setenv("LITTLEQ_CONFIG", "")
        self.app, self.url, self.is_ill, self.runs = app, url, True, 0
        actor = app.actor(self.treat, actor_name="a", queue_name="q")
        for _ in range(3):
            actor.send_with_options(max_retries=0)
        app.work()
        eventually(lambda: app.truth().dead == 3, what="three deaths")

    def treat(self) -> None:
        self.runs += 1
        if self.is_ill:
            raise ValueError("row 7")

    def replay(self, *arguments: str) -> int:
        arguments = ("--all", "--rate", "1000", "--canary", "1", *arguments, "--redis", self.url)
        return run(("dlq", "replay", *arguments))


@pytest.fixture(params=["our_app", "make_app"])
def patient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, valkey_url: str) -> Patient:
    app = request.getfixturevalue(request.param)(FAST)
    return Patient(app, monkeypatch, valkey_url)


def test_when_the_canary_is_done_the_others_follow(
    patient: Patient, capsys: pytest.CaptureFixture[str]
) -> None:
    patient.is_ill = False
    assert patient.replay() == 0
    assert capsys.readouterr().out == "3 dead letters replayed.\n"
    eventually(patient.app.idle)
    truth = patient.app.truth()
    assert (truth.accounts.done, truth.dead, truth.imbalance, patient.runs) == (3, 0, 0, 6)


def test_when_the_canary_dies_again_the_others_stay(
    patient: Patient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert patient.replay() == 1
    captured = capsys.readouterr()
    (group,) = patient.app.backend.dead_letters.groups("q")
    assert captured.out == "1 dead letter replayed.\n"
    assert "is dead again: exhausted: ValueError: row 7" in captured.err
    assert f"fingerprint {group.fingerprint.key}." in captured.err
    assert (group.letters, patient.runs) == (3, 4)


def test_a_canary_that_is_retried_is_not_done(patient: Patient, capsys: pytest.CaptureFixture[str]) -> None:
    """Its retry has another id, and the stock broker keeps it where only a search finds it."""
    client = patient.app.broker.client
    for letter in list(patient.app.backend.dead_letters.letters("q")):
        options = {**letter.options, "max_retries": 3, "min_backoff": 600_000, "max_backoff": 600_000}
        message = Message("q", letter.actor, (), {}, options, letter.message_id, 0)
        client.hset("dramatiq:q.XQ.msgs", letter.letter_id, message.encode())
    assert patient.replay("--patience", "2s") == 1
    captured = capsys.readouterr()
    assert captured.out == "1 dead letter replayed.\n"
    assert "1 of 1 canary is not done after 2 s (1 delayed)." in captured.err
    assert (patient.app.truth().dead, patient.runs) == (2, 4)
