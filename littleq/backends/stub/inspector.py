"""Reads the queues of a StubBroker."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from dramatiq import Message
from dramatiq.common import dq_name

from littleq import job
from littleq.backends.base import TruthTable

if TYPE_CHECKING:
    from dramatiq.brokers.stub import StubBroker

    from littleq.backends.stub.accounts import StubAccounts


class StubInspector:
    """Exact: what it reads is what there is."""

    def __init__(self, broker: StubBroker, accounts: StubAccounts) -> None:
        self._broker = broker
        self._accounts = accounts

    def queues(self) -> set[str]:
        return self._broker.get_declared_queues() - self._broker.get_declared_delay_queues()

    def truth(self, queues: Collection[str]) -> Mapping[str, TruthTable]:
        return {queue: self._truth(queue) for queue in queues}

    def depths(self, queues: Collection[str]) -> Mapping[str, int]:
        known = self._broker.queues
        return {queue: known[queue].unfinished_tasks if queue in known else 0 for queue in queues}

    def strangers(self, queue: str) -> int:
        letters = self._broker.dead_letters_by_queue.get(queue, [])
        options = [message.options for name in (queue, dq_name(queue)) for message in self._messages(name)]
        options += [letter.options for letter in letters]
        return sum(1 for known in options if not job.is_known(known))

    def _truth(self, queue: str) -> TruthTable:
        accounts = self._accounts.read(queue)
        if queue not in self._broker.queues:
            return TruthTable(queue, accounts=accounts)
        here, delayed = self._broker.queues[queue], self._broker.queues[dq_name(queue)]
        ready = here.qsize()
        stamps = [job.read(message.options).get("ready_at") for message in self._messages(queue)]
        oldest = min((stamp for stamp in stamps if stamp is not None), default=None)
        return TruthTable(
            queue,
            ready=ready,
            in_flight=here.unfinished_tasks - ready,
            delayed=delayed.unfinished_tasks,
            dead=len(self._broker.dead_letters_by_queue.get(queue, [])),
            oldest_age=None if oldest is None else max(0.0, time.time() - oldest),
            accounts=accounts,
        )

    def _messages(self, queue: str) -> list[Message[Any]]:
        known = self._broker.queues.get(queue)
        if known is None:
            return []
        with known.mutex:
            return [Message.decode(data) for data in known.queue]
