"""The gate around `broker.enqueue`: every message passes it, first sends are judged.

    send ──> gate ──(admission: Ticket or Overloaded)──> Dramatiq's enqueue ──> settle
    retry, due delayed job ──────────────────────────> Dramatiq's enqueue, in the place of the job a worker holds
    follow-up from an after hook ──(bypass)──────────> Dramatiq's enqueue

Why not a hook: `before_enqueue` cannot change where or when a message goes, and Dramatiq swallows what most callers of
`enqueue` inside a worker would have to see.

A broker that holds the bound of a queue itself is told what it is, and answers in the same step (`passage.Bound`);
elsewhere the judgement comes before the enqueue. Many messages at once, and groups: `littleq.batches`.
"""

from __future__ import annotations

import time
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from dramatiq.broker import MessageProxy
from dramatiq.errors import BrokerConnectionError
from dramatiq.middleware.threading import Interrupt

from littleq import job, passage
from littleq.passage import Bound, Passage, QueueFull

if TYPE_CHECKING:
    from dramatiq import Broker, Message

    from littleq.backends import Backend
    from littleq.middleware.admission import AdmissionControl, Ticket

#: Tickets of the group that is being sent, by the queue that was asked for.
group_tickets: ContextVar[dict[str, Ticket] | None] = ContextVar("littleq_group_tickets", default=None)
#: What is sent while this is set is only collected: `littleq.batches` sends it as a whole.
collected: ContextVar[list[tuple[Message[Any], int | None]] | None] = ContextVar(
    "littleq_collected", default=None
)

#: Pause before a follow-up that met an outage is sent again, in seconds.
FOLLOW_UP_PAUSE_SECONDS = 1.0

_REROUTED = ("deferred", "diverted")


class Gate:
    """Stands before one broker's `enqueue`."""

    def __init__(self, broker: Broker, admission: AdmissionControl, backend: Backend) -> None:
        self.broker = broker
        self.backend = backend
        self.admission = admission
        self._enqueue = broker.enqueue

    def close_around(self) -> None:
        """Put the gate around the broker's own method."""
        self.broker.enqueue = self.enqueue  # type: ignore[method-assign]
        self.broker.littleq_gate = self  # type: ignore[attr-defined]

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """As `Broker.enqueue`; raises `Overloaded` where a first send is shed."""
        errand = passage.current.get()
        if errand.errand == "retry" and _is_same(errand.held, message):
            return self._enqueue(message, delay=delay)
        if (
            isinstance(message, MessageProxy)
            and passage.after_job.get()
            and not job.noted(message, "rescheduled")
        ):
            # What an app's own subclass of Retries does with the job that its worker holds. Only there: once it is
            # acked or rejected nobody holds it, and a retry in its place would be none.
            with passage.rescheduling(message):
                enqueued = self._enqueue(message, delay=delay)
            job.note(message, rescheduled=True)
            return enqueued
        if delay is None and _is_due(message):
            with passage.on(Passage("promotion", message)):
                return self._enqueue(message, delay=None)
        if errand.errand == "send":
            return self._send(message, delay)
        # Sent by somebody's hook while a job is retried or promoted: refused, it would take that one along.
        with passage.on(passage.SEND), passage.unrefusable():
            return self._send(message, delay)

    def _send(self, message: Message[Any], delay: int | None) -> Message[Any]:
        waiting, tickets = collected.get(), group_tickets.get()
        if waiting is not None and passage.is_refusable():
            waiting.append((message, delay))
            return message
        if tickets is not None and message.queue_name in tickets:
            return self._forward(message, tickets[message.queue_name], delay)[0]
        judge = self.admission.admit if passage.is_refusable() else self.admission.bypass
        ticket = judge(self.broker, message, delay)
        while True:
            try:
                return self._enter(message, ticket, delay)
            except QueueFull as full:
                ticket = self.admission.overflow(ticket, full.depth)

    def _enter(self, message: Message[Any], ticket: Ticket, delay: int | None) -> Message[Any]:
        entered = False
        try:
            message, ticket = self._forward(message, ticket, delay)
            entered = True
            return message
        finally:
            self.admission.settle(ticket, entered=entered)

    def rerouted(
        self, message: Message[Any], ticket: Ticket, delay: int | None
    ) -> tuple[Message[Any], int | None]:
        """The message and its delay as the ticket wants them."""
        if ticket.outcome not in _REROUTED:
            return message, delay
        message = message.copy(queue_name=ticket.queue)
        asked = ticket.asked if ticket.outcome == "diverted" else None
        job.write(message.options, outcome=ticket.outcome, asked=asked)
        if ticket.outcome == "deferred":
            delay = max(delay or 0, ticket.delay or 0)  # a pipeline in a group may have a longer one
        return message, delay

    def _forward(
        self, message: Message[Any], ticket: Ticket, delay: int | None
    ) -> tuple[Message[Any], Ticket]:
        message, delay = self.rerouted(message, ticket, delay)
        if passage.after_job.get():
            return self._follow_up(message, delay), ticket
        if ticket.bound is None:
            if passage.current.get() is passage.SEND:
                return self._enqueue(message, delay=delay), ticket
            with passage.on(passage.SEND):  # sent by a hook of another send
                return self._enqueue(message, delay=delay), ticket
        bound = Bound(ticket.bound, ticket.overflow_delay)
        token = passage.current.set(Passage("send", bound=bound))  # spelt out: this runs for every send
        try:
            message = self._enqueue(message, delay=delay)
        finally:
            passage.current.reset(token)
        return message, self.admission.deferred(ticket) if bound.overflowed else ticket

    def _follow_up(self, message: Message[Any], delay: int | None) -> Message[Any]:
        """Swallowed by Dramatiq, an outage would cost the next link of a pipeline, or a callback: it is waited for."""
        while True:
            try:
                return self._enqueue(message, delay=delay)
            except Exception as error:
                if not isinstance(error, (BrokerConnectionError, OSError)) and not self.backend.is_transient(
                    error
                ):
                    raise
                self.broker.logger.warning(
                    "Message %r follows a job and could not be sent (%s); trying again in %.1f s.",
                    message.message_id,
                    type(error).__name__,
                    FOLLOW_UP_PAUSE_SECONDS,
                )
            except Interrupt:
                continue  # it was meant for the actor, which has ended
            with suppress(Interrupt):
                time.sleep(FOLLOW_UP_PAUSE_SECONDS)


def _is_due(message: Message[Any]) -> bool:
    """Whether a worker brings a delayed job back; it takes the eta off. With one, somebody sends a copy of his own."""
    return bool(job.read(message.options).get("waiting_due")) and "eta" not in message.options


def _is_same(held: Message[Any] | MessageProxy | None, message: Message[Any]) -> bool:
    """By id: something of the app's around `enqueue` may have made a copy. Taken for another one, its retry would come
    beside the job that is held, not in its place."""
    return held is not None and held.message_id == message.message_id
