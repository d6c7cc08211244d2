"""How a queue on Kafka looks from outside."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from dramatiq import Message

from littleq import job
from littleq.backends.base import TruthTable
from littleq.backends.kafka.lags import Lag
from littleq.backends.kafka.reading import Place

if TYPE_CHECKING:
    from littleq.backends.kafka.broker import KafkaBroker
    from littleq.backends.kafka.dead_letters import KafkaDeadLetters

#: How long the oldest jobs may be looked for, in seconds.
OLDEST_SECONDS: Final = 2.0
APPROXIMATE: Final = frozenset({"ready", "in_flight", "delayed", "dead", "oldest_age", "orphaned"})


class KafkaInspector:
    """Every number is as of the last commits, a tenth of a second ago where workers live.

    What workers hold is what they say with their commits: what a dead process held is counted as held until another one
    has its partitions, and nothing is `orphaned`. A server that does not keep what is said with a commit shows all jobs
    that are not done as ready.
    """

    def __init__(self, broker: KafkaBroker, dead_letters: KafkaDeadLetters) -> None:
        self._broker = broker
        self._dead_letters = dead_letters
        self._lock = threading.Lock()
        self._stamps: dict[Place, tuple[int, float | None]] = {}  # by place: offset, ready since

    def queues(self) -> set[str]:
        """Queues of this namespace that have their topics, and those that this process declared."""
        return self._broker.topics.queues() | self._broker.get_declared_queues()

    def truth(self, queues: Collection[str]) -> Mapping[str, TruthTable]:
        names = list(queues)
        lags = self._broker.lags.read(names)
        oldest = self._oldest(lags)
        now = time.time()
        return {
            queue: TruthTable(
                queue,
                ready=lags[queue].jobs - lags[queue].held,
                in_flight=lags[queue].held,
                delayed=lags[queue].delayed,
                dead=self._dead_letters.count(queue) or 0,
                oldest_age=None if oldest.get(queue) is None else max(0.0, now - (oldest[queue] or now)),
                approximate=APPROXIMATE,
            )
            for queue in names
        }

    def depths(self, queues: Collection[str]) -> Mapping[str, int]:
        names = list(queues)
        return {queue: lag.jobs for queue, lag in self._broker.lags.read(names, delayed=False).items()}

    def strangers(self, queue: str) -> int:
        """Reads the queue."""
        lags, found = self._broker.lags, 0
        topic = self._broker.topics.names.topic(queue)
        lag = lags.read([queue])[queue]
        waiting = {**{(topic, partition): part for partition, part in lag.parts.items()}, **lag.tiers}
        for place, part in waiting.items():
            found += sum(not _is_known(record) for record in lags.unsettled(place, part))
        return found + sum(not job.is_known(letter.options) for letter in self._dead_letters.letters(queue))

    def _oldest(self, lags: Mapping[str, Lag]) -> dict[str, float | None]:
        """Since when the oldest job that nobody holds is ready, by queue: one record of each partition is looked at."""
        wanted: dict[Place, int] = {}
        queues: dict[Place, str] = {}
        for queue, lag in lags.items():
            topic = self._broker.topics.names.topic(queue)
            for partition, part in lag.parts.items():
                if part.jobs > part.held and part.at + part.mark.next < part.end:
                    wanted[topic, partition] = part.at + part.mark.next
                    queues[topic, partition] = queue
        with self._lock:
            self._stamps = {place: self._stamps[place] for place in wanted if place in self._stamps}
            unknown = {
                place: offset
                for place, offset in wanted.items()
                if self._stamps.get(place, (-1, None))[0] != offset
            }
            for place, record in self._broker.lags.reader.heads(unknown, OLDEST_SECONDS).items():
                self._stamps[place] = unknown[place], _ready_since(record)
            stamps = [(queues[place], stamp) for place, (_, stamp) in self._stamps.items() if place in queues]
        oldest: dict[str, float | None] = {}
        for queue, stamp in stamps:
            known = oldest.get(queue)
            if stamp is not None:
                oldest[queue] = stamp if known is None else min(known, stamp)
        return oldest


def _options(record: Any) -> Mapping[str, Any]:
    try:
        return Message.decode(record.value() or b"").options
    except Exception:  # an encoder's own errors
        return {}


def _is_known(record: Any) -> bool:
    return job.is_known(_options(record))


def _ready_since(record: Any) -> float | None:
    """What the job says, or else when it was sent."""
    stamp = job.read(_options(record)).get("ready_at")
    if stamp is not None:
        return stamp
    sent = record.timestamp()[1]
    return sent / 1000 if sent > 0 else None
