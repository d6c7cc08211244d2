"""A dead job says why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from dramatiq.middleware import AgeLimit

from littleq.backends import backend_for
from littleq.config import SLAQueueConfig

Make = Callable[..., Any]
FAST = SLAQueueConfig(
    "q", admission="off", min_backoff_seconds=0.001, max_backoff_seconds=0.002, max_retries=2
)


def only_letter(stack: Any) -> Any:
    (letter,) = backend_for(stack.broker).dead_letters.letters("q")
    return letter


def test_the_record_names_reason_exception_place_and_attempts(make_stack: Make) -> None:
    stack = make_stack(FAST)

    def break_down(number: int) -> None:
        raise ZeroDivisionError(f"row {number}")

    stack.actor(break_down, actor_name="a", queue_name="q").send(7)
    stack.run("q")
    letter = only_letter(stack)
    assert letter.args == (7,)
    assert letter.death["reason"] == "exhausted"
    assert letter.death["exception"] == "builtins.ZeroDivisionError"
    assert letter.death["message"] == "row 7"
    assert "in break_down" in letter.death["traceback"]
    assert letter.death["attempts"] == 3
    assert letter.died_at == stack.clock.now()


@pytest.mark.parametrize(
    ("options", "reason", "attempts"),
    [
        ({"max_retries": 0}, "exhausted", 1),
        ({"throws": RuntimeError}, "refused", 1),
        ({"retry_routes": {RuntimeError: "dead"}}, "refused", 1),
    ],
)
def test_reasons_are_told_apart(
    make_stack: Make, options: dict[str, Any], reason: str, attempts: int
) -> None:
    stack = make_stack(FAST)

    def fail() -> None:
        raise RuntimeError

    stack.actor(fail, actor_name="a", queue_name="q", **options).send()
    stack.run("q")
    death = only_letter(stack).death
    assert (death["reason"], death["attempts"]) == (reason, attempts)
    assert stack.counts("q")[f"dead:{reason}"] == 1


def test_an_expired_job_was_never_attempted(make_stack: Make) -> None:
    stack = make_stack(FAST, middleware=[AgeLimit(max_age=1)])
    message = stack.actor(lambda: None, actor_name="a", queue_name="q").message()
    stack.broker.enqueue(_aged(message))
    stack.run("q")
    death = only_letter(stack).death
    assert (death["reason"], death["attempts"]) == ("expired", 0)


def _aged(message: dramatiq.Message[Any]) -> dramatiq.Message[Any]:
    return message._replace(message_timestamp=message.message_timestamp - 60_000)


def test_a_job_for_an_unknown_actor_is_undeliverable(make_stack: Make) -> None:
    stack = make_stack(FAST)
    message = stack.actor(lambda: None, actor_name="a", queue_name="q").message()
    stack.broker.enqueue(message._replace(actor_name="nobody"))
    stack.run("q")
    death = only_letter(stack).death
    assert death["reason"] == "undeliverable"
    assert "nobody" in death["message"]


def test_a_replayed_job_starts_afresh(make_stack: Make) -> None:
    healed: list[bool] = []
    stack = make_stack(FAST)

    def fail() -> None:
        if not healed:
            raise RuntimeError

    stack.actor(fail, actor_name="a", queue_name="q").send()
    stack.run("q")
    letters = backend_for(stack.broker).dead_letters
    letter = only_letter(stack)
    healed.append(True)
    assert letters.replay("q", letter.letter_id)
    assert not letters.replay("q", letter.letter_id)
    stack.run("q")
    truth = stack.truth("q")
    assert (truth.dead, truth.accounts.admitted, truth.accounts.done, truth.imbalance) == (0, 1, 1, 0)


def test_purged_letters_are_accounted_for(make_stack: Make) -> None:
    stack = make_stack(FAST)

    def fail() -> None:
        raise RuntimeError

    actor = stack.actor(fail, actor_name="a", queue_name="q", max_retries=0)
    for _ in range(3):
        actor.send()
    stack.run("q")
    letters = backend_for(stack.broker).dead_letters
    ids = [letter.letter_id for letter in letters.letters("q")]
    assert letters.purge("q", [*ids[:2], "no such letter"]) == 2
    truth = stack.truth("q")
    assert (truth.dead, truth.accounts.purged, truth.imbalance) == (1, 2, 0)
