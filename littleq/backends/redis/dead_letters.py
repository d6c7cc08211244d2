"""The dead letters of Dramatiq's RedisBroker: a sorted set of ids by time of death, and a hash of messages."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from dramatiq import Message

from littleq import job
from littleq.backends.base import DeadLetter
from littleq.backends.redis.scripts import lua
from littleq.backends.replay import fresh_options

if TYPE_CHECKING:
    from dramatiq.brokers.redis import RedisBroker

#: Letters read or purged per round trip.
PAGE = 500


class RedisDeadLetters:
    """Dead letters by Dramatiq's `redis_message_id`."""

    def __init__(self, broker: RedisBroker) -> None:
        self._broker = broker
        self._replay = broker.client.register_script(lua("replay"))
        self._purge = broker.client.register_script(lua("purge"))

    def letters(self, queue: str) -> Iterator[DeadLetter]:
        """Oldest first, a page at a time. A letter that goes meanwhile is passed over; one that comes is seen."""
        client, key = self._broker.client, self._key(queue)
        after: tuple[float, set[bytes]] = (float("-inf"), set())
        while True:
            score, seen = after
            found = client.zrangebyscore(key, score, "+inf", start=0, num=PAGE + len(seen), withscores=True)
            page = [row for row in cast("list[tuple[bytes, float]]", found) if row[0] not in seen]
            if not page:
                return
            yield from self._read(queue, page)
            last = page[-1][1]
            ties = {letter_id for letter_id, died in page if died == last}
            after = (last, ties | seen if last == score else ties)

    def get(self, queue: str, letter_id: str) -> DeadLetter | None:
        died = self._broker.client.zscore(self._key(queue), letter_id)
        if died is None:
            return None
        return next(self._read(queue, [(letter_id.encode(), died)]), None)

    def replay(self, queue: str, letter_id: str) -> bool:
        data = self._broker.client.hget(self._key(queue) + ".msgs", letter_id)
        if data is None:
            return False
        message = Message.decode(cast("bytes", data))
        fresh = message.copy(queue_name=queue)
        fresh.options.clear()
        fresh.options.update(fresh_options(message.options, time.time()), redis_message_id=letter_id)
        joins = "" if job.is_known(message.options) else "1"
        return bool(
            self._replay(keys=[self._broker.namespace], args=[queue, letter_id, fresh.encode(), joins])
        )

    def purge(self, queue: str, letter_ids: Iterable[str]) -> int:
        purged, ids = 0, iter(letter_ids)
        while page := list(islice(ids, PAGE)):
            purged += int(self._purge(keys=[self._broker.namespace], args=[queue, *page]))
        return purged

    def _read(self, queue: str, page: list[tuple[bytes, float]]) -> Iterator[DeadLetter]:
        ids = [letter_id for letter_id, _ in page]
        pipe = self._broker.client.pipeline(transaction=False)
        pipe.hmget(self._key(queue) + ".msgs", ids)
        pipe.hmget(f"littleq:{self._broker.namespace}:{queue}:poison", ids)
        stored, poison = pipe.execute()
        for (letter_id, died), data, deliveries in zip(page, stored, poison, strict=True):
            if data is not None:
                yield _letter(queue, letter_id.decode(), died / 1000, data, deliveries)

    def _key(self, queue: str) -> str:
        return f"{self._broker.namespace}:{queue}.XQ"


def _letter(queue: str, letter_id: str, died_at: float, data: bytes, deliveries: bytes | None) -> DeadLetter:
    try:
        message: Message[Any] = Message.decode(data)
    except Exception as error:  # kept and shown all the same: an undecodable job is somebody's job
        message = Message(queue, "?", (), {}, {}, message_id=letter_id, message_timestamp=int(died_at * 1000))
        death: job.Death = {
            "reason": "undeliverable",
            "exception": type(error).__name__,
            "message": str(error),
        }
    else:
        death = job.read(message.options).get("dead", {})
    if deliveries is not None:
        death = {"reason": "poison", "attempts": int(deliveries), "at": died_at}
    return DeadLetter(
        letter_id=letter_id,
        queue=queue,
        actor=message.actor_name,
        message_id=message.message_id,
        args=message.args,
        kwargs=message.kwargs,
        options=message.options,
        died_at=died_at,
        death=death,
    )
