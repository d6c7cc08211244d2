"""Writes on a dead job why it died."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dramatiq import Middleware
from dramatiq.common import q_name
from dramatiq.errors import ActorNotFound

from littleq import job, tracebacks
from littleq.clock import SYSTEM_CLOCK, Clock
from littleq.ledger import fields

if TYPE_CHECKING:
    from dramatiq import Broker
    from dramatiq.broker import MessageProxy

    from littleq.ledger.recorder import Recorder

#: The innermost ones: they name the place. Few enough to keep a million letters.
TRACEBACK_FRAMES = 30
#: A message of an exception can hold a whole document; its beginning says what it was.
MESSAGE_CHARACTERS = 2000


class DeadLetters(Middleware):
    """Gives each rejected message its `littleq.job.Death`: reason, exception, traceback, attempts, time.

    Runs in `before_nack`, the last moment before the broker moves the job: whoever failed it, and for
    whatever reason, it passes here. The record travels with the message.
    """

    def __init__(self, *, recorder: Recorder, clock: Clock = SYSTEM_CLOCK) -> None:
        self.recorder = recorder
        self.clock = clock

    def before_nack(self, broker: Broker, message: MessageProxy) -> None:
        exception = message._exception
        death: job.Death = {
            "reason": self._reason(message, exception),
            "attempts": job.noted(message, "attempts") or int(message.options.get("retries") or 0),
            "at": self.clock.now(),
        }
        if exception is not None:
            death["exception"] = tracebacks.qualified_name(exception)
            death["message"] = tracebacks.message(exception, MESSAGE_CHARACTERS)
            death["traceback"] = tracebacks.formatted(exception, -TRACEBACK_FRAMES)
        job.write(message.options, dead=death)

    def after_nack(self, broker: Broker, message: MessageProxy) -> None:
        reason = job.read(message.options).get("dead", {}).get("reason", "refused")
        self.recorder.count(q_name(message.queue_name), fields.qualified(fields.DEAD, reason))

    @staticmethod
    def _reason(message: MessageProxy, exception: BaseException | None) -> str:
        known = job.noted(message, "death")
        if known is not None:
            return str(known)
        if job.noted(message, "skipped"):
            return "expired"
        return "undeliverable" if isinstance(exception, ActorNotFound) else "refused"
