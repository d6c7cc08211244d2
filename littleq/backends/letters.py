"""A dead letter from what a broker stores of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from dramatiq import Message

from littleq import job
from littleq.backends.base import DeadLetter


def letter_of(
    queue: str, letter_id: str, died_at: float, data: bytes, deliveries: int | None = None
) -> DeadLetter:
    """A letter, whatever its data: kept and shown all the same, an undecodable job is somebody's job.

    Args:
        died_at: when the broker says that it died, s since the epoch.
        data: the message as it is stored.
        deliveries: how often it was handed out, where the broker itself took it for poison; else None.
    """
    death: job.Death
    try:
        message: Message[Any] = Message.decode(data)
        death = _death(job.read(message.options).get("dead", {}))
    except Exception as error:
        message = Message(queue, "?", (), {}, {}, message_id=letter_id, message_timestamp=int(died_at * 1000))
        death = {"reason": "undeliverable", "exception": type(error).__name__, "message": str(error)}
    if deliveries is not None:
        death = {"reason": "poison", "attempts": deliveries, "at": died_at}
    return DeadLetter(
        letter_id=letter_id,
        queue=queue,
        actor=_text(message.actor_name),
        message_id=_text(message.message_id),
        args=message.args,
        kwargs=message.kwargs,
        options=message.options,
        died_at=died_at,
        death=death,
    )


def _death(found: Mapping[str, Any]) -> job.Death:
    """A record of a death, of the types that it should have: anybody can write to the server."""
    texts = ("reason", "exception", "message", "traceback")
    death = {key: _text(value) for key, value in found.items() if key in texts}
    numbers = {key: found[key] for key in ("attempts", "at") if isinstance(found.get(key), (int, float))}
    return cast("job.Death", death | numbers)


def _text(value: Any) -> str:
    """What can be printed and encoded: JSON may hold half a character."""
    return str(value).encode(errors="replace").decode()
