"""Dead-letters a job that kills its workers, where the broker cannot tell which of the jobs it had handed out ran."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dramatiq import Middleware
from dramatiq.logging import get_logger
from dramatiq.middleware import SkipMessage

from littleq import job
from littleq.ledger.base import LedgerUnavailable

if TYPE_CHECKING:
    from dramatiq import Broker
    from dramatiq.broker import MessageProxy

    from littleq.config import Config
    from littleq.ledger import Ledger
    from littleq.ledger.recorder import Recorder


class Poison(Middleware):
    """Counts in the ledger how often a job was started that had been handed out before.

    A worker that dies gives back all that it held: one job killed it, and its neighbours had only been fetched. A
    broker counts deliveries of either. So a job that comes once more, or perhaps does, as the broker or the consumer
    says (`redelivered`), is written down before it starts and crossed out when it has ended, whatever its end. One
    that was written down `max_deliveries` times is a dead letter, `poison`. A first delivery costs nothing.

    Not in the stack of a broker that counts deaths itself. Fails open: without a ledger the job runs.
    """

    def __init__(self, *, config: Config, ledger: Ledger, recorder: Recorder) -> None:
        self.logger = get_logger(__name__, type(self))
        self.config = config
        self.ledger = ledger
        self.recorder = recorder
        self._running: set[tuple[str, str]] = set()

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        redelivered = job.noted(message, "redelivered")
        if not redelivered:
            return
        queue, message_id = message.queue_name, message.message_id
        try:
            starts = self.ledger.attempt(queue, message_id)
        except LedgerUnavailable as error:
            self.logger.warning("Message %r may be poison, and cannot be counted: %s", message_id, error)
            self.recorder.error("poison", queue)
            return
        self._running.add((queue, message_id))  # until it is acked, or is a dead letter
        most = self.config.queue(queue).max_deliveries
        # Where it is known that this is not its first delivery, that one's start is not on record. It may have been
        # none: then once more is the benefit of the doubt.
        deaths = starts - 1 if redelivered == "perhaps" else starts
        if deaths >= (most if redelivered == "perhaps" else max(2, most)):
            self.logger.error(
                "Message %r has killed its worker, or was lost with it, %d times: it is dead-lettered.",
                *(message_id, deaths),
            )
            job.note(message, death="poison", attempts=deaths)
            message.fail()
            raise SkipMessage(f"message {message_id!r} is poison")

    def after_ack(self, broker: Broker, message: MessageProxy) -> None:
        key = (message.queue_name, message.message_id)
        if key in self._running:
            self._running.discard(key)
            self._forget(*key)

    after_nack = after_ack

    def acquit(self) -> None:
        """This process ends by no fault of its jobs: none of them is charged."""
        while self._running:
            self._forget(*self._running.pop())

    def _forget(self, queue: str, message_id: str) -> None:
        try:
            self.ledger.settled(queue, [message_id])
        except LedgerUnavailable as error:  # it runs out by itself
            self.logger.debug("Message %r stays on record: %s", message_id, error)
