"""How far groups are behind their topics: what an outsider can know of a queue, in a few questions for all queues."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

from littleq.backends.kafka.commits import Mark, Settled, decoded
from littleq.backends.kafka.reading import Place, Reader
from littleq.backends.kafka.topics import ANSWER_SECONDS, Topics
from littleq.backends.kafka.urls import Address

#: Answers of the client's, which come later.
Answers = dict[Any, Any]
NO_MARK: Final = Mark()
EARLIEST, LATEST = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Behind:
    """One partition of a queue.

    Attributes:
        at: committed offset, or the first one that there is.
        end: the offset of the next record that is sent.
        mark: what was said with the commit.
    """

    at: int
    end: int
    mark: Mark = NO_MARK

    @property
    def jobs(self) -> int:
        """Records that are not settled."""
        return max(0, self.end - self.at - self.mark.settled)

    @property
    def held(self) -> int:
        return min(self.mark.held, self.jobs)


@dataclass(frozen=True, slots=True)
class Lag:
    """One queue: its partitions, and those of its tiers."""

    parts: Mapping[int, Behind] = field(default_factory=dict)
    tiers: Mapping[Place, Behind] = field(default_factory=dict)

    @property
    def delayed(self) -> int:
        return sum(tier.jobs for tier in self.tiers.values())

    @property
    def jobs(self) -> int:
        return sum(part.jobs for part in self.parts.values())

    @property
    def held(self) -> int:
        return sum(part.held for part in self.parts.values())


class Lags:
    """Reads them."""

    def __init__(self, address: Address, topics: Topics) -> None:
        self._topics = topics
        self.reader = Reader(address)

    def read(self, queues: Collection[str], *, delayed: bool = True) -> dict[str, Lag]:
        """The lag of each queue; one that has no topic has none.

        Raises:
            KafkaException: the server does not answer.
        """
        names = self._topics.names
        there = self._topics.counted([names.topic(queue) for queue in queues])
        asked: dict[str, list[Place]] = {}  # by group
        for queue in queues:
            asked[names.group(queue)] = _places([names.topic(queue)], there)
            if delayed:
                asked[names.delay_group(queue)] = _places(names.delays(queue), there)
        # All questions are on their way before the first answer: whoever sends meanwhile counts what it sends twice.
        groups = self._ask_committed(asked)
        places = [place for found in asked.values() for place in found]
        latest, earliest = self._ask_offsets(places, LATEST), self._ask_offsets(places, EARLIEST)
        committed, ends, starts = _committed(groups), _offsets(latest), _offsets(earliest)
        lags = {}
        for queue in queues:
            parts = {
                place[1]: _behind(
                    committed.get(names.group(queue), {}).get(place), starts[place], ends[place]
                )
                for place in asked[names.group(queue)]
            }
            known = committed.get(names.delay_group(queue), {})
            tiers = {
                place: _behind(known.get(place), starts[place], ends[place])
                for place in asked.get(names.delay_group(queue), ())
            }
            lags[queue] = Lag(parts, tiers)
        return lags

    def unsettled(self, place: Place, part: Behind) -> Iterator[Any]:
        """The records of a partition that are not settled, as far as its last commit tells."""
        settled = Settled(part.at, part.mark.runs)
        for record in self.reader.records(*place, part.at, part.end):
            if record.offset() not in settled:
                yield record

    def bounds(self, topic: str) -> dict[int, tuple[int, int]]:
        """First offset and end of each partition of a topic; none where there is no topic."""
        places = _places([topic], self._topics.counted([topic]))
        earliest, latest = self._ask_offsets(places, EARLIEST), self._ask_offsets(places, LATEST)
        starts, ends = _offsets(earliest), _offsets(latest)
        return {place[1]: (starts[place], ends[place]) for place in places}

    def ends(self, topics: Iterable[str], spec: Any) -> list[TopicPartition]:
        places = _places(topics, self._topics.partitions_by_topic())
        return [
            TopicPartition(*place, offset)
            for place, offset in _offsets(self._ask_offsets(places, spec)).items()
        ]

    def close(self) -> None:
        self.reader.close()

    def _ask_offsets(self, places: Collection[Place], spec: Any) -> Answers:
        asked = {TopicPartition(*place): spec for place in places}
        if not asked:
            return {}
        answers = self._topics.admin.list_offsets(asked, request_timeout=ANSWER_SECONDS)
        return {(each.topic, each.partition): answer for each, answer in answers.items()}

    def _ask_committed(self, asked: Mapping[str, Collection[Place]]) -> Answers:
        answers = {}
        for group, places in asked.items():  # a request takes one group
            if places:
                request = ConsumerGroupTopicPartitions(group, [TopicPartition(*place) for place in places])
                found = self._topics.admin.list_consumer_group_offsets(
                    [request], request_timeout=ANSWER_SECONDS
                )
                answers[group] = found[group]
        return answers


def _offsets(answers: Answers) -> dict[Place, int]:
    return {place: answer.result(2 * ANSWER_SECONDS).offset for place, answer in answers.items()}


def _committed(answers: Answers) -> dict[str, dict[Place, tuple[int, Mark | None]]]:
    found: dict[str, dict[Place, tuple[int, Mark | None]]] = {}
    for group, answer in answers.items():
        found[group] = {}
        for each in answer.result(2 * ANSWER_SECONDS).topic_partitions:
            if each.error is not None:
                raise KafkaException(each.error)
            if each.offset >= 0:
                found[group][each.topic, each.partition] = each.offset, decoded(each.metadata)
    return found


def _places(topics: Iterable[str], there: Mapping[str, int]) -> list[Place]:
    return [(topic, partition) for topic in topics for partition in range(there.get(topic, 0))]


def _behind(committed: tuple[int, Mark | None] | None, start: int, end: int) -> Behind:
    if committed is None or committed[0] < start:
        return Behind(start, end)
    at, mark = committed
    return Behind(at, end, mark or NO_MARK)
