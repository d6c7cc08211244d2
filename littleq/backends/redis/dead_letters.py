"""The dead letters of a Redis broker.

A sorted set of ids by time of death and a hash of messages, both as Dramatiq has them, and an index of our own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Unpack, cast

from dramatiq import Message

from littleq import job
from littleq.backends.letters import DeadLetter, LetterFilter, Whereabouts, letter_of
from littleq.backends.redis.letter_index import STEP, Bound, LetterIndex, Row, pages
from littleq.backends.redis.scripts import lua
from littleq.backends.redis.whereabouts import by_id, by_message_id
from littleq.backends.replay import fresh_options
from littleq.dead_letters import Group, fingerprint, ranked

if TYPE_CHECKING:
    from dramatiq.brokers.redis import RedisBroker

#: Accidents looked at per round trip, and letters of each from which the example is taken: one may just have left.
GROUPS_PAGE, EXAMPLES = 100, 3


class RedisDeadLetters:
    """Dead letters by Dramatiq's `redis_message_id`.

    They are dated by the server's clock, those of plain Dramatiq processes by these processes' clocks.
    """

    def __init__(self, broker: RedisBroker) -> None:
        client = broker.client
        self._client = client
        self._namespace = broker.namespace
        self._index = LetterIndex(client, broker.namespace, self._read)
        self._replay = client.register_script(lua("prelude", "letters", "replay"))
        self._purge = client.register_script(lua("letters", "purge"))
        self._expire = client.register_script(lua("letters", "expire"))

    def now(self) -> float:
        seconds, microseconds = cast("tuple[int, int]", self._client.time())
        return seconds + microseconds / 1_000_000

    def letters(self, queue: str, **wanted: Unpack[LetterFilter]) -> Iterator[DeadLetter]:
        for page in self._pages(queue, wanted):
            yield from self._read(queue, page)

    def letter_ids(self, queue: str, **wanted: Unpack[LetterFilter]) -> Iterator[str]:
        for page in self._pages(queue, wanted):
            yield from (letter_id.decode() for letter_id, _ in page)

    def count(self, queue: str, **wanted: Unpack[LetterFilter]) -> int:
        key = self._find(queue, wanted)
        return 0 if key is None else cast("int", self._client.zcount(key, *_bounds(wanted)))

    def groups(self, queue: str, **wanted: Unpack[LetterFilter]) -> Sequence[Group]:
        self._index.complete(queue)
        asked = wanted.get("fingerprint")
        keys = iter(self._index.fingerprints(queue) if asked is None else [asked])
        found: list[Group] = []
        while page := list(islice(keys, GROUPS_PAGE)):
            found += self._groups(queue, page, _bounds(wanted))
        actor = wanted.get("actor")
        return ranked(group for group in found if actor is None or group.fingerprint.actor == actor)

    def get(self, queue: str, letter_id: str) -> DeadLetter | None:
        died = cast("float | None", self._client.zscore(self._dead(queue), letter_id))
        if died is None:
            return None
        return next(self._read(queue, [(letter_id.encode(), died)]), None)

    def replay(self, queue: str, letter_id: str) -> bool:
        data = self._client.hget(self._dead(queue) + ".msgs", letter_id)
        if data is None:
            return False
        message = Message.decode(cast("bytes", data))
        fresh = message.copy(queue_name=queue)
        fresh.options.clear()
        fresh.options.update(fresh_options(message.options, time.time()), redis_message_id=letter_id)
        joins = "" if job.is_known(message.options) else "1"
        return bool(self._replay(keys=[self._namespace], args=[queue, letter_id, fresh.encode(), joins]))

    def whereabouts(
        self, queue: str, letters: Collection[DeadLetter], *, thorough: bool = False
    ) -> Mapping[str, Whereabouts]:
        found = by_id(self._client, self._namespace, queue, letters)
        if thorough:
            lost = [letter for letter in letters if found[letter.letter_id] == "gone"]
            found.update(by_message_id(self._client, self._namespace, queue, lost))
        return found

    def purge(self, queue: str, letter_ids: Iterable[str]) -> int:
        purged, ids = 0, iter(letter_ids)
        while page := list(islice(ids, STEP)):
            purged += int(self._purge(keys=[self._namespace], args=[queue, *page]))
        return purged

    def expire(self, queue: str, older_than_seconds: float) -> int:
        expired, keep_ms = 0, math.ceil(older_than_seconds * 1000)
        while True:
            page = int(self._expire(keys=[self._namespace], args=[queue, keep_ms, STEP]))
            expired += page
            if page < STEP:
                return expired

    def _find(self, queue: str, wanted: LetterFilter) -> str | None:
        """The sorted set in which the wanted letters are, None if there are none."""
        key, actor = wanted.get("fingerprint"), wanted.get("actor")
        if key is None and actor is None:
            return self._dead(queue)
        self._index.complete(queue)
        if key is None:
            return self._index.by_actor(queue, cast("str", actor))
        if actor is not None and self._index.actor_of(queue, key) != actor:
            return None
        return self._index.by_fingerprint(queue, key)

    def _pages(self, queue: str, wanted: LetterFilter) -> Iterator[list[Row]]:
        key = self._find(queue, wanted)
        if key is not None:
            yield from pages(self._client, key, *_bounds(wanted))

    def _read(self, queue: str, page: Sequence[Row]) -> Iterator[DeadLetter]:
        if not page:
            return
        ids = [letter_id for letter_id, _ in page]
        pipe = self._client.pipeline(transaction=False)
        pipe.hmget(self._dead(queue) + ".msgs", ids)
        pipe.hmget(f"littleq:{self._namespace}:{queue}:poison", ids)
        stored, poison = pipe.execute()
        for (letter_id, died), data, deliveries in zip(page, stored, poison, strict=True):
            if data is not None:
                often = None if deliveries is None else int(deliveries)
                yield letter_of(queue, letter_id.decode(), died / 1000, data, often)

    def _groups(self, queue: str, keys: Sequence[str], bounds: tuple[Bound, Bound]) -> Iterator[Group]:
        low, high = bounds
        pipe = self._client.pipeline(transaction=True)  # a group's count and times are of one instant
        for key in keys:
            letters = self._index.by_fingerprint(queue, key)
            pipe.zcount(letters, low, high)
            pipe.zrangebyscore(letters, low, high, start=0, num=1, withscores=True)
            pipe.zrevrangebyscore(letters, high, low, start=0, num=EXAMPLES, withscores=True)
        answers = iter(pipe.execute())
        accidents = [row for row in zip(answers, answers, answers, strict=True) if row[0]]
        last_ones = [row for _, _, last in accidents for row in last]
        examples = {letter.letter_id: letter for letter in self._read(queue, last_ones)}
        for letters, first, last in accidents:
            example = next((examples[i.decode()] for i, _ in last if i.decode() in examples), None)
            if example is not None:
                mark, first_at, last_at = fingerprint(example), first[0][1] / 1000, last[0][1] / 1000
                yield Group(queue, mark, letters, first_at, last_at, example)

    def _dead(self, queue: str) -> str:
        return f"{self._namespace}:{queue}.XQ"


def _bounds(wanted: LetterFilter) -> tuple[Bound, Bound]:
    """From `since` and `until` to scores: whole milliseconds, the second one excluded."""
    since, until = wanted.get("since"), wanted.get("until")
    return (
        "-inf" if since is None else _milliseconds(since),
        "+inf" if until is None else f"({_milliseconds(until)}",
    )


def _milliseconds(at: float) -> int:
    """The first whole millisecond that is not before `at`; a float's last digits are no time.

    >>> _milliseconds(1700000000.123), _milliseconds(1700000000.1234)
    (1700000000123, 1700000000124)
    """
    return math.ceil(round(at * 1000, 3))
