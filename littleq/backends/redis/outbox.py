"""How messages leave a process: 500 with each round trip, the next 500 prepared while the server takes these in."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from littleq.backends.base import Receipt, Sending
from littleq.backends.redis.quick import Running
from littleq.backends.redis.sending import Args, Ids, named, receipt

if TYPE_CHECKING:
    from dramatiq import Message

    from littleq.backends.redis.broker import RedisBroker

#: Messages that one round trip brings in at most: a few milliseconds of the server's time.
BATCH = 500


@dataclass(slots=True)
class _Batch:
    """Messages of one round trip: prepared, then on their way."""

    sendings: Sequence[Sending]
    args: Args
    messages: list[Message[Any]] = field(default_factory=list)
    running: Running | None = None


class Outbox:
    """One per broker and process."""

    def __init__(self, broker: RedisBroker, ids: Ids) -> None:
        self._broker = broker
        self._ids = ids

    def send(self, sendings: Sequence[Sending], *, whole: bool) -> list[Receipt]:
        """As `RedisBroker.enqueue_many`."""
        broker = self._broker
        size = max(1, len(sendings)) if whole else BATCH
        receipts: list[Receipt] = []
        on_the_way: _Batch | None = None
        try:
            for first in range(0, len(sendings), size):
                batch = self._prepared(sendings[first : first + size], whole)
                if on_the_way is not None:
                    receipts += self._received(on_the_way)
                on_the_way = batch
                batch.running = broker.own_scripts["enqueue"].start(
                    keys=[broker.namespace], args=batch.args.list
                )
        except BaseException:
            if on_the_way is not None:  # nobody hears of it, but its connection is in use again
                with suppress(Exception):
                    self._received(on_the_way)
            raise
        return receipts if on_the_way is None else receipts + self._received(on_the_way)

    def _prepared(self, sendings: Sequence[Sending], whole: bool) -> _Batch:
        broker = self._broker
        batch = _Batch(sendings, Args(broker.broker_id, whole=whole))
        for sending in sendings:
            message = named(sending, self._ids.new(sending.message.message_id))
            broker.logger.debug("Enqueueing message %r on queue %r.", message.message_id, message.queue_name)
            broker.emit_before("enqueue", message, sending.delay)
            batch.args.add(sending, message)
            batch.messages.append(message)
        return batch

    def _received(self, batch: _Batch) -> list[Receipt]:
        running, batch.running = batch.running, None
        if running is None:  # its answer was taken, or it never left
            return []
        answers = running.answer()
        receipts = [receipt(message, answer) for message, answer in zip(batch.messages, answers, strict=True)]
        for sending, found in zip(batch.sendings, receipts, strict=True):
            if found.outcome in ("in", "deferred"):
                self._broker.emit_after("enqueue", found.message, sending.delay)
        return receipts
