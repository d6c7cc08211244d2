"""Measures what a queue promises: waits, services, sojourns and breaches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dramatiq import Middleware

from littleq import job
from littleq.clock import SYSTEM_CLOCK, Clock
from littleq.ledger import fields

if TYPE_CHECKING:
    from dramatiq import Broker, Message
    from dramatiq.broker import MessageProxy

    from littleq.config import Config
    from littleq.ledger.recorder import Recorder


class SLATimer(Middleware):
    """Stamps when a job becomes ready, and times it when it runs.

    Last in the stack: nothing of another middleware's is counted as service. `message_timestamp` is no use
    here: it survives delays and retries, so the age of a message is not its wait. A job that never passed
    LittleQ has no stamp; its service is measured, its wait is not guessed.

    Waits compare wall clocks of two hosts (sender and worker); a negative difference counts as 0.
    """

    def __init__(self, *, config: Config, recorder: Recorder, clock: Clock = SYSTEM_CLOCK) -> None:
        self.config = config
        self.recorder = recorder
        self.clock = clock

    def before_enqueue(self, broker: Broker, message: Message[Any], delay: int | None) -> None:
        options = message.options
        if delay is not None:
            job.write(options, ready_at=self.clock.now() + delay / 1000, waiting_due=True)
        elif job.read(options).get("waiting_due"):
            job.write(options, waiting_due=None)  # due now: it was ready at its due time, not when we noticed
        else:
            job.write(options, ready_at=self.clock.now())

    def before_delay_message(self, broker: Broker, message: MessageProxy) -> None:
        """Whoever sent it: when it is due it comes from this worker, and is no first send."""
        job.write(message.options, waiting_due=True)

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        plain = message._message  # a proxy looks each attribute up twice
        queue = plain.queue_name
        counts: list[tuple[str, float]] = [(fields.STARTED, 1)]
        ready_at = job.read(plain.options).get("ready_at")
        if ready_at is not None:
            sla = self.config.queue(queue)
            wait = max(0.0, self.clock.now() - ready_at)
            counts += fields.observation(fields.WAIT, fields.wait_bounds(sla.sla_seconds), wait)
            if sla.sla_on == "wait" and wait > sla.sla_seconds:
                counts.append((fields.BREACHED, 1))
        self.recorder.add(queue, counts)
        job.note(message, started=self.clock.monotonic())

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        started = job.noted(message, "started")
        if started is None:  # an earlier middleware raised: the job never began
            return
        plain = message._message
        service = self.clock.monotonic() - started
        counts: list[tuple[str, float]] = [(fields.FAILED if exception is not None else fields.DONE, 1)]
        counts += fields.observation(fields.SERVICE, fields.SERVICE_BOUNDS, service)
        ready_at = job.read(plain.options).get("ready_at")
        if ready_at is not None:
            sla = self.config.queue(plain.queue_name)
            sojourn = max(service, self.clock.now() - ready_at)
            counts += fields.observation(fields.SOJOURN, fields.wait_bounds(sla.sla_seconds), sojourn)
            if sla.sla_on == "sojourn" and sojourn > sla.sla_seconds:
                counts.append((fields.BREACHED, 1))
        self.recorder.add(plain.queue_name, counts)

    def after_ack(self, broker: Broker, message: MessageProxy) -> None:
        """Until now the job held its thread: hooks and the ack cost capacity too."""
        started = job.noted(message, "started")
        if started is not None:
            self.recorder.count(message.queue_name, fields.OCCUPIED, self.clock.monotonic() - started)

    after_nack = after_ack

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        job.note(message, skipped=True)
        if not message.failed:
            self.recorder.count(message.queue_name, fields.SKIPPED)
