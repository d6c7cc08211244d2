"""The gate around `broker.enqueue`: every message passes it, first sends are judged.

    send ──> gate ──(admission: Ticket or Overloaded)──> Dramatiq's enqueue ──> settle
    retry, due delayed job ──────────────────────────> Dramatiq's enqueue, in the place of the job a worker holds
    follow-up from an after hook ──(bypass)──────────> Dramatiq's enqueue

Why not a hook: `before_enqueue` cannot change where or when a message goes, and Dramatiq swallows what most callers of
`enqueue` inside a worker would have to see. A group is judged as a whole before its first member is sent
(`group.run` sets up its completion barrier first, then enqueues one by one: a refusal midway would leave half a group).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any

from dramatiq.composition import group, pipeline

from littleq import job, passage
from littleq.passage import Passage

if TYPE_CHECKING:
    from dramatiq import Broker, Message

    from littleq.middleware.admission import AdmissionControl, Ticket

#: Tickets of the group that is being sent, by the queue that was asked for.
_group_tickets: ContextVar[dict[str, Ticket] | None] = ContextVar("littleq_group_tickets", default=None)


_REROUTED = ("deferred", "diverted")


class Gate:
    """Stands before one broker's `enqueue`."""

    def __init__(self, broker: Broker, admission: AdmissionControl) -> None:
        self.broker = broker
        self.admission = admission
        self._enqueue = broker.enqueue

    def close_around(self) -> None:
        """Put the gate around the broker's own method."""
        self.broker.enqueue = self.enqueue  # type: ignore[method-assign]
        self.broker.littleq_gate = self  # type: ignore[attr-defined]

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """As `Broker.enqueue`; raises `Overloaded` where a first send is shed."""
        errand = passage.current.get()
        if errand.errand == "retry" and errand.held is message:
            return self._enqueue(message, delay=delay)
        if delay is None and _is_due(message):
            with passage.on(Passage("promotion", message)):
                return self._enqueue(message, delay=None)
        if errand is passage.SEND:
            return self._send(message, delay)
        with passage.on(passage.SEND):  # sent by somebody's hook while another message passes
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
            job.write(message.options, outcome=ticket.outcome)
            delay = ticket.delay if ticket.outcome == "deferred" else delay
        return self._enqueue(message, delay=delay)

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
