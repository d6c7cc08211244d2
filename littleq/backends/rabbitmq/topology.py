"""The queues and exchanges of a LittleQ queue on the server: declared when they are needed, taken as they are if there.

What exists already is never changed: a queue of plain Dramatiq's is classic and stays so. Where the server says that
one exists with other arguments (406), that is what it is.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from dramatiq.logging import get_logger
from pika import exceptions

from littleq.backends.rabbitmq.ladder import RUNGS, lifetime_ms, pattern

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

    from littleq.backends.rabbitmq.broker import RabbitmqBroker

#: The server drops, or rather dead-letters, what was handed out so often: a backstop for a ledger in memory, far above
#: `max_deliveries`, for it counts what was merely prefetched too.
DELIVERY_LIMIT = 200
#: As good as none, and what RabbitMQ 4 takes for none is an error before.
NO_LIMIT = 2**31 - 1
#: How long a worker may hold a job, in milliseconds: a week, where the server lets a queue say so (3.12 and later).
CONSUMER_TIMEOUT_MS = 7 * 86_400_000
#: How many contracts a queue may have had.
MOST_SLOTS = 100
#: How often it is looked whether another process has declared a further queue, in seconds.
LOOK_SECONDS = 5.0

#: A quorum queue that is younger than this, in seconds, forgets what it has confirmed if its server is killed: the
#: server writes down that it exists half a second later (seen on 3.10). So nobody sends to a queue before.
NEWBORN_SECONDS = 1.0

_SAFE: dict[str, Any] = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}


class Topology:
    """Declares and remembers. One per broker and process."""

    def __init__(self, broker: RabbitmqBroker) -> None:
        self._logger = get_logger(__name__, type(self))
        self._broker = broker
        self._names = broker.names
        self._letters: dict[str, str] = {}  # by queue: where its dead letters go
        self._ours: set[str] = set()
        self._rungs: dict[str, int] = {}  # by queue: how many this process has declared
        self._slots: dict[str, dict[int, int]] = {}  # by queue: slot by limit
        self._seen: dict[
            str, tuple[float, int]
        ] = {}  # by queue: when slots were looked for, and how many there were

    def forget(self, queue: str) -> None:
        """Something of the queue was deleted: declare it anew when it is needed."""
        for known in (self._letters, self._rungs, self._slots, self._seen):
            known.pop(queue, None)

    def ensure(self, queue: str) -> str:
        """The queue and a place for its dead letters; the name of that place."""
        known = self._letters.get(queue)
        if known is None:
            is_new = self._broker.count(self._names.main(queue)) is None
            known = self._ensure_letters(queue)
            if self.declare(self._names.main(queue), self._main_arguments(known)):
                self._ours.add(queue)
            if is_new:
                time.sleep(NEWBORN_SECONDS)
            self._letters[queue] = known
        return known

    def is_ours(self, queue: str) -> bool:
        """Whether the queue has the settings that we give one."""
        self.ensure(queue)
        return queue in self._ours

    def first(self, queue: str, limit: int) -> str:
        """The queue that takes at most `limit` first sends. Each contract that a queue ever had has one of its own."""
        slots = self._slots.setdefault(queue, {})
        if limit not in slots:
            letters = self.ensure(queue)
            arguments = {
                # A quorum queue lets more in, and once full nothing until it is down to 80 %.
                "x-queue-type": "classic",
                "x-max-length": limit,
                "x-overflow": "reject-publish",
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": letters,
                "x-consumer-timeout": CONSUMER_TIMEOUT_MS,
            }
            slots[limit] = next(
                slot
                for slot in range(MOST_SLOTS)
                if self.declare(self._names.first(queue, slot), arguments) or slot == MOST_SLOTS - 1
            )
            self._seen.pop(queue, None)
        return self._names.first(queue, slots[limit])

    def places(self, queue: str) -> list[str]:
        """All queues that hold jobs of a queue that are ready; one that was declared elsewhere is seen in seconds."""
        now = time.monotonic()
        looked_at, slots = self._seen.get(queue, (float("-inf"), 0))
        if now - looked_at > LOOK_SECONDS:
            while slots < MOST_SLOTS and self._broker.count(self._names.first(queue, slots)) is not None:
                slots += 1
            self._seen[queue] = now, slots
        return [self._names.main(queue), *(self._names.first(queue, slot) for slot in range(slots))]

    def ladder(self, queue: str, top: int) -> None:
        """The rungs of a queue up to `top`, and what leads from one to the next."""
        if self._rungs.get(queue, 0) > top:
            return
        self.ensure(queue)
        is_new = self._broker.count(self._names.rung(queue, top)) is None
        self._broker.ask(lambda channel: self._declare_ladder(channel, queue, top))
        if is_new:
            time.sleep(NEWBORN_SECONDS)
        self._rungs[queue] = top + 1

    def _declare_ladder(self, channel: BlockingChannel, queue: str, top: int) -> None:
        names = self._names
        below = names.due(queue)
        channel.exchange_declare(below, "fanout", durable=True)
        channel.queue_bind(names.main(queue), below)
        for rung in range(top + 1):
            name = names.rung(queue, rung)
            channel.exchange_declare(name, "topic", durable=True)
            channel.queue_declare(
                name,
                durable=True,
                arguments={
                    "x-queue-type": "quorum",
                    "x-message-ttl": lifetime_ms(rung),
                    "x-dead-letter-exchange": below,
                    **_SAFE,
                },
            )
            channel.queue_bind(name, name, pattern(rung, 1))
            channel.exchange_bind(below, name, pattern(rung, 0))
            below = name

    def declare(self, name: str, arguments: dict[str, Any]) -> bool:
        """Declare a queue; False: it exists, and is another one. Without the right to declare it must exist."""
        try:
            self._broker.ask(lambda channel: channel.queue_declare(name, durable=True, arguments=arguments))
        except exceptions.ChannelClosedByBroker as error:
            if error.reply_code == 406:
                return False
            if error.reply_code == 403 and self._broker.count(name) is not None:
                return False
            raise
        return True

    def _main_arguments(self, letters: str) -> dict[str, Any]:
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": letters}
        if self._broker.max_priority:  # quorum queues know no such priorities
            return {**arguments, "x-max-priority": self._broker.max_priority}
        return {
            **arguments,
            **_SAFE,
            "x-queue-type": "quorum",
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-consumer-timeout": CONSUMER_TIMEOUT_MS,
        }

    def _ensure_letters(self, queue: str) -> str:
        """Where dead letters are kept until they are purged; who looks at them may do so any number of times."""
        arguments = {"x-queue-type": "quorum", "x-delivery-limit": NO_LIMIT}
        name = self._names.letters(queue)
        if self.declare(name, arguments):
            return name
        kept = self._names.kept(queue)
        self._logger.warning(
            "Queue %r: %r was declared by somebody else, as by plain Dramatiq, whose dead letters are forgotten after "
            "a week. Dead letters go to %r, which keeps them. To be rid of this: replay or purge what %r holds, "
            "delete it, and restart.",
            *(queue, name, kept, name),
        )
        self.declare(kept, arguments)
        return kept

    def on_rungs(self, queue: str) -> list[int]:
        """How many jobs are on each rung that there is."""
        found: list[int] = []
        while len(found) < RUNGS:
            jobs = self._broker.count(self._names.rung(queue, len(found)))
            if jobs is None:
                break
            found.append(jobs)
        return found
