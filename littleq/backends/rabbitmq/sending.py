"""From sendings to what is published, and how first sends are held to the bound of their queue.

A queue with a contract has one place for first sends, which takes no more than the contract says: the server refuses
the next one as it comes, whoever sends it. Retries, jobs that are due, follow-ups and replays go to the queue itself,
which refuses nothing.

Before it publishes, a sender looks how many jobs wait in all places together: every 0.1 s while it sends, and again
before it refuses. That is all there is for a queue whose limit moves (`capacity`), for the lower shares of a limit, and
for jobs that are sent with a delay; and it counts retries against the contract too.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pika
from dramatiq import Message
from dramatiq.common import current_millis, dq_name
from dramatiq.errors import ConnectionClosed

from littleq import job
from littleq.backends.base import Receipt, Sending
from littleq.backends.forms import encoded, ready_form, with_options
from littleq.backends.rabbitmq.headers import DUE
from littleq.backends.rabbitmq.ladder import climb
from littleq.backends.rabbitmq.outlet import Parcel

if TYPE_CHECKING:
    from littleq.backends.rabbitmq.broker import RabbitmqBroker

#: For how long a depth is used while jobs are let in, in seconds, and the age at which it is too old to refuse one.
FRESH_SECONDS, FRESH_TO_REFUSE_SECONDS = 0.1, 0.005


@dataclass(slots=True)
class _Sample:
    """`sent`: by this process since; `on_the_way`: those of them whose publish is not over."""

    depth: int = 0
    sent: int = 0
    on_the_way: int = 0
    taken_at: float = float("-inf")


class Depths:
    """How many jobs wait in the queues that this process sends to."""

    def __init__(self, broker: RabbitmqBroker) -> None:
        self._broker = broker
        self._lock = threading.Lock()
        self._samples: dict[str, _Sample] = {}

    def full(self, queue: str, bound: int, jobs: int) -> int | None:
        """The depth, where `jobs` more would be too many; None: there is room, and it is taken."""
        for patience in (FRESH_SECONDS, FRESH_TO_REFUSE_SECONDS):
            self._refresh(queue, patience)
            with self._lock:
                sample = self._samples[queue]
                depth = sample.depth + sample.sent
                if depth + jobs <= bound:
                    sample.sent += jobs
                    sample.on_the_way += jobs
                    return None
        return depth

    def settle(self, taken: Mapping[str, int]) -> None:
        """What had room was published, or not."""
        with self._lock:
            for queue, jobs in taken.items():
                self._samples[queue].on_the_way -= jobs

    def refused(self, queue: str) -> int:
        """The server had no room after all: the depth, looked at anew."""
        self._refresh(queue, 0.0)
        return self._samples[queue].depth

    def _refresh(self, queue: str, patience: float) -> None:
        with self._lock:
            sample = self._samples.setdefault(queue, _Sample())
            now = time.monotonic()
            if now - sample.taken_at <= patience:
                return
            before = sample.sent - sample.on_the_way
        depth = self._broker.waiting(queue)
        with self._lock:
            # What is on its way may be in the server's number or not: counted twice rather than never.
            sample.depth, sample.sent, sample.taken_at = depth, max(0, sample.sent - before), now


@dataclass(slots=True)
class Post:
    """One message on its way.

    Attributes:
        hooked: as Dramatiq's hooks see it, and as it is returned.
        delay: in ms; 0 and less, or None: ready.
        limit: of the place for first sends; None: the queue itself.
    """

    sending: Sending
    hooked: Message[Any]
    delay: int | None
    limit: int | None
    outcome: Any = "in"

    @property
    def queue(self) -> str:
        return self.sending.message.queue_name

    def put_off(self, delay: int) -> None:
        """There is no room: it comes later."""
        self.delay, self.limit, self.outcome = delay, None, "deferred"
        job.write(self.hooked.options, ready_at=time.time() + delay / 1000, outcome="deferred")


def post(broker: RabbitmqBroker, sending: Sending) -> Post:
    """A sending, after the hooks that stamp it."""
    message, delay = sending.message, sending.delay
    if delay is None:
        hooked = with_options(message)
    else:
        hooked = with_options(message, eta=current_millis() + delay).copy(
            queue_name=dq_name(message.queue_name)
        )
    broker.emit_before("enqueue", hooked, delay)
    if not job.is_known(hooked.options):  # no middleware stamps it
        job.write(hooked.options, ready_at=time.time() + (delay or 0) / 1000)
    limit = broker.limits.get(message.queue_name) if sending.bound is not None else None
    return Post(sending, hooked, delay, None if delay else limit)


def parcel(broker: RabbitmqBroker, each: Post) -> Parcel:
    """What goes to the server; the places that it goes to are there then."""
    queue, delay = each.queue, each.delay or 0
    stored = each.hooked if each.sending.delay is None else ready_form(each.hooked, queue)
    return parcel_of(broker, queue, encoded(stored), delay, stored, limit=each.limit)


def parcel_of(
    broker: RabbitmqBroker,
    queue: str,
    body: bytes,
    delay: float,
    message: Message[Any] | None,
    *,
    limit: int | None = None,
) -> Parcel:
    """A message for a queue, to be ready in `delay` ms."""
    due = time.time() * 1000 + max(0.0, delay)
    properties = pika.BasicProperties(
        delivery_mode=2,
        message_id=None if message is None else message.message_id,
        priority=None if message is None else message.options.get("broker_priority"),
        timestamp=int(due / 1000),
    )
    if delay <= 0:
        broker.topology.ensure(queue)
        key = broker.names.main(queue) if limit is None else broker.topology.first(queue, limit)
        return Parcel("", key, body, properties)
    rung, key = climb(delay)
    broker.topology.ladder(queue, rung)
    properties.headers = {DUE: int(due)}
    return Parcel(broker.names.rung(queue, rung), key, body, properties)


class Outbox:
    """How messages leave the broker."""

    def __init__(self, broker: RabbitmqBroker) -> None:
        self._broker = broker
        self._depths = Depths(broker)

    def send(self, sendings: Sequence[Sending], *, whole: bool) -> list[Receipt]:
        """As `RabbitmqBroker.enqueue_many`."""
        taken: Counter[str] = Counter()
        try:
            return self._send(sendings, whole, taken)
        finally:
            self._depths.settle(taken)

    def _send(self, sendings: Sequence[Sending], whole: bool, taken: Counter[str]) -> list[Receipt]:
        if whole and (full := self._full(sendings, taken)):
            names = [sending.message.queue_name for sending in sendings]
            return [
                Receipt(sending.message, "full" if name in full else "gone", full.get(name, 0))
                for sending, name in zip(sendings, names, strict=True)
            ]
        receipts: list[Receipt | None] = [None] * len(sendings)
        posts: dict[int, Post] = {}
        for place, sending in enumerate(sendings):
            queue, late = sending.message.queue_name, sending.overflow_delay
            self._broker.declare_queue(queue)
            depth = None
            if sending.bound is not None and not whole:
                depth = self._depths.full(queue, sending.bound, 1)
                taken[queue] += depth is None
            if depth is not None and late is None:
                receipts[place] = Receipt(sending.message, "full", depth)
                continue
            each = posts[place] = post(self._broker, sending)
            if depth is not None and late is not None:
                each.put_off(late)
        self._publish(posts, receipts, whole)
        for place, each in posts.items():
            found = receipts[place]
            if found is not None and found.outcome != "full":
                self._broker.emit_after("enqueue", each.hooked, each.sending.delay)
        return [found for found in receipts if found is not None]

    def _publish(self, posts: dict[int, Post], receipts: list[Receipt | None], whole: bool) -> None:
        while posts_left := {place: each for place, each in posts.items() if receipts[place] is None}:
            parcels = [partial(parcel, self._broker, each) for each in posts_left.values()]
            refused = self._broker.publish(parcels)
            for (place, each), full in zip(posts_left.items(), refused, strict=True):
                if not full:
                    receipts[place] = Receipt(each.hooked, each.outcome)
                elif each.limit is None:
                    raise ConnectionClosed(f"RabbitMQ did not take a message for queue {each.queue!r} in.")
                elif whole:  # half a group would be worse than a job too many
                    each.limit = None
                elif each.sending.overflow_delay is not None:
                    each.put_off(each.sending.overflow_delay)
                else:
                    receipts[place] = Receipt(each.sending.message, "full", self._depths.refused(each.queue))

    def _full(self, sendings: Sequence[Sending], taken: Counter[str]) -> dict[str, int]:
        """Queues without room for all of theirs, and how many jobs wait there."""
        jobs = Counter(sending.message.queue_name for sending in sendings)
        bounds = {s.message.queue_name: s.bound for s in sendings if s.bound is not None}
        found = {queue: self._depths.full(queue, bound, jobs[queue]) for queue, bound in bounds.items()}
        taken.update({queue: jobs[queue] for queue, depth in found.items() if depth is None})
        return {queue: depth for queue, depth in found.items() if depth is not None}
