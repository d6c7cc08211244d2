"""Names of topics and groups, and the ladder of delays.

    q               the queue
    q.delay.soon    due within a second, in any order
    q.delay.1s …    each record waits that long here, so that each topic is in the order in which its records leave
    q.XQ            the dead letters

A namespace other than Dramatiq's own goes before them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

DEFAULT_NAMESPACE: Final = "dramatiq"
DEAD_SUFFIX: Final = ".XQ"
_DELAY: Final = ".delay."
#: Longest name of a topic.
LONGEST_NAME: Final = 249


class Tier(NamedTuple):
    """One topic of delayed jobs.

    Attributes:
        name: end of the topic's name.
        seconds: how long a record waits in it at most; 0: until it is due.
    """

    name: str
    seconds: float


#: Ratios near ten: a job passes some five tiers of a kind, and a queue has few topics.
TIERS: Final = (
    Tier("soon", 0.0),
    Tier("1s", 1.0),
    Tier("10s", 10.0),
    Tier("1m", 60.0),
    Tier("10m", 600.0),
    Tier("1h", 3600.0),
    Tier("12h", 43_200.0),
)


def tier_for(remaining: float) -> Tier:
    """The tier of a job that is due in so many seconds: the longest one that is not too long.

    >>> [tier_for(seconds).name for seconds in (-1, 0.999, 1, 59, 60, 1e9)]
    ['soon', 'soon', '1s', '10s', '1m', '12h']
    """
    return next((tier for tier in reversed(TIERS) if tier.seconds <= remaining), TIERS[0])


class Names(NamedTuple):
    """The names of one namespace."""

    namespace: str = DEFAULT_NAMESPACE

    @property
    def prefix(self) -> str:
        return "" if self.namespace == DEFAULT_NAMESPACE else f"{self.namespace}."

    def topic(self, queue: str) -> str:
        return self.prefix + queue

    def dead(self, queue: str) -> str:
        return self.topic(queue) + DEAD_SUFFIX

    def delay(self, queue: str, tier: Tier) -> str:
        return f"{self.topic(queue)}{_DELAY}{tier.name}"

    def delays(self, queue: str) -> list[str]:
        return [self.delay(queue, tier) for tier in TIERS]

    def tier_of(self, topic: str) -> Tier:
        """The tier of a topic of `delays`."""
        name = topic.rpartition(_DELAY)[2]
        return next(tier for tier in TIERS if tier.name == name)

    def group(self, queue: str) -> str:
        """The consumer group whose commits tell what of a queue is done."""
        return f"{self.namespace}.{queue}"

    def delay_group(self, queue: str) -> str:
        """The group that moves the delayed jobs of a queue on."""
        return f"{self.namespace}.{queue}.delay"

    def queues(self, topics: set[str]) -> Iterator[str]:
        """The queues among topics of a server that holds others too: a queue has dead letters."""
        for topic in topics:
            queue = topic.removesuffix(DEAD_SUFFIX)
            if queue != topic and queue in topics and queue.startswith(self.prefix):
                yield queue.removeprefix(self.prefix)
