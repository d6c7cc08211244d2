"""Many messages at once: `send_many`, and Dramatiq's groups.

A broker that takes many at once gets them so. On one that holds the bound of a queue itself a group is one round
trip, too: its members are collected while `group.run` sends them, and go in together or not at all. Elsewhere a group
is judged as a whole before its first member is sent (`group.run` sets up its completion barrier first: a refusal
midway would leave half a group).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import dramatiq
from dramatiq.composition import group, pipeline
from dramatiq.results import ResultBackend

from littleq import job, passage
from littleq.backends.base import PartlySent, Sending
from littleq.errors import ConfigurationError
from littleq.gate import Gate, collected, group_tickets
from littleq.middleware.overloaded import Overloaded

if TYPE_CHECKING:
    from dramatiq import Broker, Message

    from littleq.backends.base import SendsMany
    from littleq.middleware.admission import AdmissionControl, Ticket
    from littleq.policies.admission import Outcome


class Sent(NamedTuple):
    """What became of one message of `send_many`.

    Attributes:
        message: as `send` would have returned it.
        outcome: `admitted`, `deferred`, `diverted`, `bypassed`, or `shed`: then it is in no queue.
        error: why it was shed.
    """

    message: Message[Any]
    outcome: Outcome
    error: Overloaded | None = None


def send_many(
    messages: Iterable[Message[Any]], *, delay: int | None = None, broker: Broker | None = None
) -> list[Sent]:
    """Send messages, on LittleQ's brokers many with each round trip (docs/brokers.md says how many).

    Args:
        messages: as `actor.message(…)` builds them; for any queues.
        delay: of all of them, in ms.
        broker: default: Dramatiq's global one.

    Returns:
        What became of each, in their order. Nothing is raised for a message that was shed: look at `outcome`.

    Raises:
        ConfigurationError: the broker has no stack.
        ValidationError: a message's criticality is wrong; none was sent.
        littleq.backends.base.PartlySent: some are in, some are not; it says which.
        Exception: what the broker raises when its server is away; batches before that are in.
    """
    broker = broker if broker is not None else dramatiq.get_broker()
    gate: Gate | None = getattr(broker, "littleq_gate", None)
    if gate is None:
        raise ConfigurationError("send_many needs the stack: call littleq.install(broker) first.")
    takes_many = hasattr(broker, "enqueue_many")
    if takes_many and passage.current.get().errand == "send" and passage.is_refusable():
        return _send_batch(gate, list(messages), delay)
    return [_send_one(gate, message, delay) for message in messages]


def _send_one(gate: Gate, message: Message[Any], delay: int | None) -> Sent:
    try:
        sent = gate.enqueue(message, delay=delay)
    except Overloaded as error:
        return Sent(message, "shed", error)
    return Sent(sent, cast("Outcome", job.read(sent.options).get("outcome", "admitted")))


def _send_batch(gate: Gate, messages: list[Message[Any]], delay: int | None) -> list[Sent]:
    admission, found = gate.admission, [Sent(message, "shed") for message in messages]
    waiting: list[tuple[int, Message[Any], Ticket]] = []
    with _released_on_failure(admission, waiting):
        waiting.extend(_judged_each(gate, messages, delay, found))
    while waiting:
        refused = []
        entered: Counter[Ticket] = Counter()
        with _released_on_failure(admission, waiting):
            receipts = _enqueue_many(gate, [(m, ticket, delay) for _, m, ticket in waiting], whole=False)
        for (at, message, its), receipt in zip(waiting, receipts, strict=True):
            if receipt.outcome != "full":
                entered[its] += 1
                found[at] = Sent(receipt.message, its.outcome)
                continue
            admission.settle(its, entered=False)
            try:
                refused.append((at, message, admission.overflow(its, receipt.depth)))
            except Overloaded as error:
                found[at] = Sent(message, "shed", error)
        for its, jobs in entered.items():
            admission.settle(its._replace(jobs=jobs), entered=True)
        waiting = refused
    return found


@contextmanager
def _released_on_failure(
    admission: AdmissionControl, waiting: list[tuple[int, Message[Any], Ticket]]
) -> Iterator[None]:
    """Give back the room that was taken for what is not sent."""
    try:
        yield
    except BaseException as error:
        inside = {message.message_id for message in error.sent} if isinstance(error, PartlySent) else set()
        for _, message, ticket in waiting:
            admission.settle(ticket, entered=message.message_id in inside)
        raise


def _judged_each(
    gate: Gate, messages: list[Message[Any]], delay: int | None, found: list[Sent]
) -> Iterator[tuple[int, Message[Any], Ticket]]:
    """Place, message and ticket of those that may be sent; of the others, why not, in `found`.

    Where the broker holds the bound, messages that differ in nothing that counts share a ticket; elsewhere each takes
    its own room on the depth meter.
    """
    judged: dict[Any, Ticket] = {}
    for at, message in enumerate(messages):
        options = message.options
        what: Any = (
            message.queue_name,
            message.actor_name,
            options.get("criticality"),
            "scheduled_at" in options,
        )
        if not gate.backend.bounded:
            what = at
        try:
            if what not in judged:
                # Each deferred job has a turn of its own, which is known only when the ones before it are.
                judged[what] = gate.admission.admit(gate.broker, message, delay)._replace(overflow_delay=None)
        except Overloaded as error:
            found[at] = Sent(message, "shed", error)
        else:
            yield at, message, judged[what]


def _enqueue_many(
    gate: Gate, members: Iterable[tuple[Message[Any], Ticket, int | None]], *, whole: bool
) -> Any:
    sendings = []
    for member, ticket, asked_delay in members:
        message, delay = gate.rerouted(member, ticket, asked_delay)
        sendings.append(Sending(message, delay, bound=ticket.bound))
    with passage.on(passage.SEND):
        return cast("SendsMany", gate.broker).enqueue_many(sendings, whole=whole)


@contextmanager
def whole(gate: Gate, members: group, delay: int | None) -> Iterator[None]:
    """Let all members of a group in, or none.

    Raises:
        Overloaded: one of the group's queues has no room for its members; nothing was sent.
    """
    if group_tickets.get() is not None or collected.get() is not None or not passage.is_refusable():
        yield  # a group within a group stands or falls with it; one from an after hook is never refused
    elif gate.backend.bounded:
        waiting: list[tuple[Message[Any], int | None]] = []
        token = collected.set(waiting)
        try:
            yield
        finally:
            collected.reset(token)
        _send_whole(gate, waiting)
    else:
        with _judged_whole(gate, list(_first_messages(members)), delay):
            yield


def _send_whole(gate: Gate, members: list[tuple[Message[Any], int | None]]) -> None:
    sizes = Counter(message.queue_name for message, _ in members)
    tickets: dict[str, Ticket] = {}
    for message, delay in members:
        queue = message.queue_name
        if queue not in tickets:
            tickets[queue] = gate.admission.admit(gate.broker, message, delay, jobs=sizes[queue])
    while members:
        judged = [(message, tickets[message.queue_name], delay) for message, delay in members]
        full = {
            ticket.asked: receipt.depth
            for (_, ticket, _), receipt in zip(judged, _enqueue_many(gate, judged, whole=True), strict=True)
            if receipt.outcome == "full"
        }
        if not full:
            break
        for queue, depth in full.items():
            tickets[queue] = gate.admission.overflow(tickets[queue], depth)
    for ticket in tickets.values():
        gate.admission.settle(ticket, entered=True)


@contextmanager
def _judged_whole(gate: Gate, firsts: list[Message[Any]], delay: int | None) -> Iterator[None]:
    sizes = Counter(message.queue_name for message in firsts)
    tickets: dict[str, Ticket] = {}
    entered = False
    token = group_tickets.set(tickets)
    try:
        for message in firsts:
            queue = message.queue_name
            if queue not in tickets:
                tickets[queue] = gate.admission.admit(gate.broker, message, delay, jobs=sizes[queue])
        yield
        entered = True
    finally:
        group_tickets.reset(token)
        for ticket in tickets.values():
            gate.admission.settle(ticket, entered=entered)


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
        with whole(gate, self, delay):
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
