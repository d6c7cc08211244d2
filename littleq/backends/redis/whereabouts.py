"""Where replayed jobs are on a Redis-compatible server.

A replayed job keeps the id of its letter until it is retried: a retry has a new id. While our broker has it in the
schedule it is found there by its message id; once it is due, and wherever Dramatiq's own broker put it, only a scan
finds it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, cast

from littleq.backends.redis.inspector import SCAN_COUNT, decoded

if TYPE_CHECKING:
    import redis

    from littleq.backends.letters import DeadLetter, Whereabouts


def by_id(
    client: redis.Redis, namespace: str, queue: str, letters: Collection[DeadLetter]
) -> dict[str, Whereabouts]:
    """By letter id, all at one instant; a retry counts if it is in our schedule."""
    pipe = client.pipeline(transaction=True)
    prefix = f"{namespace}:{queue}"
    for letter in letters:
        name = letter.message_id
        pipe.hexists(f"{prefix}.msgs", letter.letter_id)
        pipe.hexists(f"{prefix}.DQ.msgs", letter.letter_id)
        pipe.zrangebylex(
            f"littleq:{namespace}:{queue}:schedule:ids", f"[{name}.", f"({name}/", start=0, num=1
        )
        pipe.zscore(f"{prefix}.XQ", letter.letter_id)
    answers = iter(pipe.execute() if letters else ())
    found: dict[str, Whereabouts] = {}
    for letter, queued, delayed, retried, died in zip(
        letters, answers, answers, answers, answers, strict=True
    ):
        found[letter.letter_id] = (
            "queued"
            if queued
            else "delayed"
            if delayed or retried
            else "dead"
            if died is not None
            else "gone"
        )
    return found


def by_message_id(
    client: redis.Redis, namespace: str, queue: str, letters: Collection[DeadLetter]
) -> dict[str, Whereabouts]:
    """The jobs of these letters that live, by letter id, whatever their own ids: reads every message of the queue.

    The delayed ones first: a job that becomes due meanwhile is seen twice rather than never.
    """
    lost = {letter.message_id: letter.letter_id for letter in letters}
    found: dict[str, Whereabouts] = {}
    places: tuple[tuple[str, Whereabouts], ...] = ((".DQ.msgs", "delayed"), (".msgs", "queued"))
    for suffix, place in places if lost else ():
        scan = client.hscan_iter(f"{namespace}:{queue}{suffix}", count=SCAN_COUNT)
        for message in decoded(data for _, data in cast("list[tuple[bytes, bytes]]", scan)):
            if message is not None and message.message_id in lost:
                found[lost[message.message_id]] = place
    return found
