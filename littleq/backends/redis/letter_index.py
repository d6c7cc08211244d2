"""The index of dead letters on a Redis-compatible server: by actor and by fingerprint, each in order of death.

The keys are those of `letters.lua`, which adds and removes entries in the same step in which a letter comes or
goes. What dies by other hands has no entry: letters of plain Dramatiq processes and of the stock broker's
extension, and poison, which is set aside inside a script that cannot read it. Plain Dramatiq also takes letters
away without a word to the index. So whoever asks for the index lets it be completed first:

    prune   entries whose letter is gone are dropped; two counts tell then how many letters have no entry
    add     newest first, since that is where they are, until none is missing: what has no entry is read and indexed
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

from littleq.backends.redis.scripts import lua
from littleq.dead_letters import Fingerprint, fingerprint

if TYPE_CHECKING:
    import redis

    from littleq.backends.letters import DeadLetter

#: Letters read per round trip.
PAGE = 500
#: Letters indexed or deleted by one call of a script: jobs wait for about a millisecond meanwhile.
STEP = 100

Row = tuple[bytes, float]  # a letter's id, and when it died (ms)
Bound = str | float  # of times of death in ms, as ZRANGEBYSCORE takes it: "-inf", 5.0, "(5.0"

_UNREADABLE = Fingerprint("?", "undeliverable", "", "")


class LetterIndex:
    """Finds letters by actor or fingerprint.

    Args:
        read: the letters of a queue, as far as they are still there.
    """

    def __init__(
        self,
        client: redis.Redis,
        namespace: str,
        read: Callable[[str, list[Row]], Iterable[DeadLetter]],
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._read = read
        self._prune = client.register_script(lua("letters", "prune"))
        self._index = client.register_script(lua("letters", "index"))

    def by_actor(self, queue: str, actor: str) -> str:
        """Key of a sorted set of ids by time of death (ms), as the next one."""
        return self._key(queue, f"{actor}:by_actor")

    def by_fingerprint(self, queue: str, key: str) -> str:
        return self._key(queue, f"{key}:by_fingerprint")

    def fingerprints(self, queue: str) -> list[str]:
        """The accidents that have letters."""
        names = cast("set[bytes]", self._client.smembers(self._key(queue, "fingerprints")))
        return sorted(name.decode() for name in names)

    def actor_of(self, queue: str, key: str) -> str | None:
        """The actor of an accident, None if there is no letter of it: it has only one."""
        first = cast("list[bytes]", self._client.zrange(self.by_fingerprint(queue, key), 0, 0))
        entry = self._client.hget(self._key(queue, "index"), first[0].decode()) if first else None
        return None if entry is None else cast("bytes", entry).decode().partition(":")[2]

    def complete(self, queue: str) -> None:
        """Let the index hold exactly the letters that are dead now."""
        missing = -1
        while missing < 0:
            missing = int(self._prune(keys=[self._namespace], args=[queue, STEP]))
        if missing == 0:
            return
        for page in pages(self._client, f"{self._namespace}:{queue}.XQ", newest_first=True):
            ids = [letter_id.decode() for letter_id, _ in page]
            known = cast("list[bytes | None]", self._client.hmget(self._key(queue, "index"), ids))
            missing -= self._add(
                queue, [row for row, entry in zip(page, known, strict=True) if entry is None]
            )
            if missing <= 0:
                return

    def _add(self, queue: str, rows: list[Row]) -> int:
        """Index these letters, as far as they are still there; how many that were."""
        marks = {letter.letter_id: fingerprint(letter) for letter in self._read(queue, rows)}
        added = 0
        for first in range(0, len(rows), STEP):
            arguments: list[Any] = [queue]
            for raw, died in rows[first : first + STEP]:
                letter_id = raw.decode()
                mark = marks.get(
                    letter_id, _UNREADABLE
                )  # one without data; if it just left, the script lets it be
                arguments += (letter_id, died, mark.actor, mark.key)
            added += int(self._index(keys=[self._namespace], args=arguments))
        return added

    def _key(self, queue: str, name: str) -> str:
        return f"littleq:{self._namespace}:{queue}:dead:{name}"


def pages(
    client: redis.Redis, key: str, low: Bound = "-inf", high: Bound = "+inf", *, newest_first: bool = False
) -> Iterator[list[Row]]:
    """A sorted set of letters, a page a round trip. One that goes meanwhile is passed over, one that comes is seen.

    Pages go on from a score and not from a rank, which moves when letters are taken away. Of those that died in
    the same millisecond the ones that were seen are remembered.
    """
    seen: set[bytes] = set()
    start = high if newest_first else low
    while True:
        most = PAGE + len(seen)
        if newest_first:
            found = client.zrevrangebyscore(key, start, low, start=0, num=most, withscores=True)
        else:
            found = client.zrangebyscore(key, start, high, start=0, num=most, withscores=True)
        page = [row for row in cast("list[Row]", found) if row[0] not in seen]
        if not page:
            return
        yield page
        last = page[-1][1]
        ties = {letter_id for letter_id, died in page if died == last}
        seen = ties | seen if last == start else ties
        start = last
