"""The gate around `broker.enqueue`: every message passes it, first sends are judged.

    send ──> gate ──(admission: Ticket or Overloaded)──> Dramatiq's enqueue ──> settle
    retry, due delayed job ──────────────────────────> Dramatiq's enqueue, in the place of the job a worker holds
    follow-up from an after hook ──(bypass)──────────> Dramatiq's enqueue

Why not a hook: `before_enqueue` cannot change where or when a message goes, and Dramatiq swallows what most callers of
`enqueue` inside a worker would have to see. A group is judged as a whole before its first member is sent
(`group.run` sets up its completion barrier first, then enqueues one by one: a refusal midway would leave half a group).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any

from dramatiq.broker import MessageProxy
from dramatiq.composition import group, pipeline
from dramatiq.errors import BrokerConnectionError
from dramatiq.middleware.threading import Interrupt
from dramatiq.results import ResultBackend

from littleq import job, passage
from littleq.passage import Passage

if TYPE_CHECKING:
    from dramatiq import Broker, Message

    from littleq.middleware.admission import AdmissionControl, Ticket

#: Tickets of the group that is being sent, by the queue that was asked for.
_group_tickets: ContextVar[dict[str, Ticket] | None] = ContextVar("littleq_group_tickets", default=None)

#: Pause before a follow-up that met an outage is sent again, in seconds.
FOLLOW_UP_PAUSE_SECONDS = 1.0

_REROUTED = ("deferred", "diverted")


class Gate:
    """Stands before one broker's `enqueue`."""

    def __init__(
        self,
        broker: Broker,
        admission: AdmissionControl,
        is_transient: Callable[[BaseException], bool] = lambda _error: False,
    ) -> None:
        self.broker = broker
        self.is_transient = is_transient
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
        if errand is passage.SEND:
            return self._send(message, delay)
        # Sent by somebody's hook while a job is retried or promoted: refused, it would take that one along.
        with passage.on(passage.SEND), passage.unrefusable():
            return self._send(message, delay)

    def _send(self, message: Message[Any], delay: int | None) -> Message[Any]:
        tickets = _group_tickets.get()
        if tickets is not None and message.queue_name in tickets:
            return self._forward(message, tickets[message.queue_name], delay)
        judge = self.admission.admit if passage.is_refusable() else self.admission.bypass
        ticket = judge(self.broker, message, delay)
        entered = False
        try:
            message = self._forward(message, ticket, delay)
            entered = True
            return message
        finally:
            self.admission.settle(ticket, entered=entered)

    def _forward(self, message: Message[Any], ticket: Ticket, delay: int | None) -> Message[Any]:
        if ticket.outcome in _REROUTED:
            message = message.copy(queue_name=ticket.queue)
            asked = ticket.asked if ticket.outcome == "diverted" else None
            job.write(message.options, outcome=ticket.outcome, asked=asked)
            if ticket.outcome == "deferred":
                delay = max(delay or 0, ticket.delay or 0)  # a pipeline in a group may have a longer one
        if not passage.after_job.get():
            return self._enqueue(message, delay=delay)
        while True:  # swallowed by Dramatiq, an outage would cost the next link of a pipeline, or a callback
            try:
                return self._enqueue(message, delay=delay)
            except Exception as error:
                if not isinstance(error, (BrokerConnectionError, OSError)) and not self.is_transient(error):
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

    @contextmanager
    def whole(self, members: group, delay: int | None) -> Iterator[None]:
        """Judge all members of a group before the first is sent.

        Raises:
            Overloaded: one of the group's queues has no room for its members; nothing was sent.
        """
        if _group_tickets.get() is not None or not passage.is_refusable():
            yield  # a group within a group stands or falls with it; one from an after hook is never refused
            return
        firsts = list(_first_messages(members))
        sizes = Counter(message.queue_name for message in firsts)
        tickets: dict[str, Ticket] = {}
        entered = False
        token = _group_tickets.set(tickets)
        try:
            for message in firsts:
                queue = message.queue_name
                if queue not in tickets:
                    tickets[queue] = self.admission.admit(self.broker, message, delay, jobs=sizes[queue])
            yield
            entered = True
        finally:
            _group_tickets.reset(token)
            for ticket in tickets.values():
                self.admission.settle(ticket, entered=entered)


def _is_due(message: Message[Any]) -> bool:
    """Whether a worker brings a delayed job back; it takes the eta off. With one, somebody sends a copy of his own."""
    return bool(job.read(message.options).get("waiting_due")) and "eta" not in message.options


def _is_same(held: Message[Any] | MessageProxy | None, message: Message[Any]) -> bool:
    """By id: something of the app's around `enqueue` may have made a copy. Taken for another one, its retry would come
    beside the job that is held, not in its place."""
    return held is not None and held.message_id == message.message_id


def _first_messages(members: group) -> Iterator[Message[Any]]:
    for child in members.children:
        if isinstance(child, group):
            yield from _first_messages(child)
        elif isinstance(child, pipeline):
            yield child.messages[0]
        else:
            yield child


def judge_groups_whole() -> None:
    """Make `dramatiq.group.run` ask its broker's gate first; other brokers' groups run as ever. Done once
    per process."""
    run: Callable[..., group] = group.run
    if getattr(run, "_littleq", False):
        return

    @wraps(run)
    def run_whole(self: group, *, delay: int | None = None) -> group:
        gate: Gate | None = getattr(self.broker, "littleq_gate", None)
        if gate is None:
            return run(self, delay=delay)
        with gate.whole(self, delay):
            return run(self, delay=delay)

    run_whole._littleq = True  # type: ignore[attr-defined]
    group.run = run_whole  # type: ignore[method-assign]


def keep_results_findable() -> None:
    """Let the result of a diverted job be stored and found under the queue that was asked for: members of a
    group and links of a pipeline know no other. Done once per process."""
    build: Callable[..., str] = ResultBackend.build_message_key
    if getattr(build, "_littleq", False):
        return

    @wraps(build)
    def build_message_key(self: ResultBackend, message: Message[Any]) -> str:
        asked = job.read(message.options).get("asked")
        return build(self, message if asked is None else message.copy(queue_name=asked))

    build_message_key._littleq = True  # type: ignore[attr-defined]
    ResultBackend.build_message_key = build_message_key  # type: ignore[method-assign]
