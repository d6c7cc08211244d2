"""Reads the queues of a RabbitMQ server."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from littleq import job
from littleq.backends.base import TruthTable
from littleq.backends.rabbitmq.dead_letters import RabbitmqDeadLetters
from littleq.backends.rabbitmq.ladder import RUNGS, share_due

if TYPE_CHECKING:
    from littleq.backends.rabbitmq.broker import RabbitmqBroker


class RabbitmqInspector:
    """`ready`, `delayed` and `dead` are the server's counts, each exact at its own moment; a job that moves from one
    rung of the ladder to the next is in none of them for some milliseconds.

    `in_flight` is known to the management API alone, five seconds late; without it it is 0. `oldest_age` is the
    server's, to the second, of classic queues (of first sends with a contract, and of plain Dramatiq's); quorum queues
    do not tell. `orphaned` is always 0: the server takes back what a consumer held as soon as its connection ends.
    """

    def __init__(self, broker: RabbitmqBroker) -> None:
        self._broker = broker

    def queues(self) -> set[str]:
        """Queues that this process declared, and those that the management API knows.

        Raises:
            pika.exceptions.AMQPError: the server is away. Without an answer there are not no queues.
        """
        self._broker.ask(lambda _channel: None)
        found = self._broker.management.names()
        known = set() if found is None else self._broker.names.queues_in(found)
        return self._broker.get_declared_queues() | known

    def truth(self, queues: Collection[str]) -> Mapping[str, TruthTable]:
        return {queue: self._truth(queue) for queue in queues}

    def depths(self, queues: Collection[str]) -> Mapping[str, int]:
        found = {}
        for queue in queues:
            places = self._broker.topology.places(queue)
            found[queue] = self._ready(places) + (self._broker.management.unacked(places) or 0)
        return found

    def strangers(self, queue: str) -> int:
        """Among the dead letters only: jobs that wait cannot be looked at without taking them."""
        return sum(
            1
            for letter in RabbitmqDeadLetters(self._broker).letters(queue)
            if not job.is_known(letter.options)
        )

    def _truth(self, queue: str) -> TruthTable:
        broker = self._broker
        places = broker.topology.places(queue)
        heads = broker.management.head_times(places) if places else {}
        return TruthTable(
            queue,
            ready=self._ready(places),
            in_flight=broker.management.unacked(places) or 0,
            delayed=broker.delayed(queue),
            dead=broker.dead(queue),
            oldest_age=max(0.0, time.time() - min(heads.values())) if heads else None,
            approximate=frozenset({"delayed", "in_flight", "oldest_age", "next_due"}),
        )

    def _ready(self, places: Collection[str]) -> int:
        return sum(self._broker.count(place) or 0 for place in places)


class RabbitmqSchedule:
    """When delayed jobs are due, to within a factor of two: by the rung on which they wait."""

    def __init__(self, broker: RabbitmqBroker) -> None:
        self._broker = broker

    def due_times(self, queue: str, bounds: Sequence[float]) -> Sequence[int]:
        jobs = self._broker.on_rungs(queue)
        return [
            round(sum(jobs[rung] * share_due(rung, bound * 1000) for rung in range(min(RUNGS, len(jobs)))))
            for bound in bounds
        ]

    def due_times_of(self, bounds: Mapping[str, Sequence[float]]) -> Mapping[str, Sequence[int]]:
        """Queue by queue, each at a moment of its own."""
        return {queue: self.due_times(queue, its) for queue, its in bounds.items()}

    def cancel(self, queue: str, message_id: str) -> int:
        """Nothing can be found on a rung: none is taken away."""
        return 0
