"""The SQS queues of a broker: where they are, made where they are missing.

What is made has the longest retention, 14 days, and a redrive policy far above `max_deliveries`: a backstop for a job
that kills its worker where nobody else counts. A queue that is there already is used as it is; what about it is unlike
what LittleQ needs is said once, in the log.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from dramatiq.logging import get_logger

from littleq.backends.sqs.names import DEAD, DELAYED, is_fifo, sqs_name
from littleq.backends.sqs.outages import SQS_ERRORS, is_missing
from littleq.backends.sqs.urls import LONGEST_RETENTION, SHORTEST_RETENTION
from littleq.backends.sqs.wire import LARGEST_BYTES
from littleq.background import survive_forks

if TYPE_CHECKING:
    from littleq.backends.sqs.clients import Clients

T = TypeVar("T")


#: SQS's counts, each approximate: what can be received, what is hidden from others, what waits for its time.
READY, IN_FLIGHT, LATER = COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the jobs of one Dramatiq queue are.

    Attributes:
        url, dead: addresses of the queue and of its dead letters.
        delayed: of a FIFO queue, which knows no delay of a single message: the standard queue where delayed jobs wait;
            of another one None.
        largest: the most bytes that a message of the queue may have.
    """

    url: str
    dead: str
    delayed: str | None = None
    largest: int = LARGEST_BYTES


class Queues:
    """Addresses, by Dramatiq's names.

    Attributes:
        dead_retention: for how long the dead letters of a queue are kept, in seconds, where not for 14 days. Said to
            SQS when it makes the queue.
    """

    def __init__(self, clients: Clients, *, namespace: str, visibility: int) -> None:
        self.logger = get_logger(__name__, type(self))
        self.clients = clients
        self.namespace = namespace
        self.visibility = visibility
        self.dead_retention: dict[str, float] = {}
        self._places: dict[str, Place] = {}  # looked at, and made where they were missing
        self._seen: dict[str, Place] = {}  # only found
        self.after_fork_in_child()
        survive_forks(self)

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()

    def place(self, queue: str) -> Place:
        """Where a queue is; it is made if it must be and may.

        Raises:
            ConfigurationError: SQS allows no such name.
            botocore.exceptions.ClientError: it is missing and `create=no`, or SQS refuses.
            botocore.exceptions.BotoCoreError: SQS is away, or no credentials are found.
        """
        found = self._places.get(queue)
        if found is None:
            with self._lock:
                found = self._places.get(queue)
                if found is None:
                    found = self._places[queue] = self._find(queue)
        return found

    def forget(self, queue: str) -> None:
        """Somebody deleted it, say: look again."""
        self._places.pop(queue, None)
        self._seen.pop(queue, None)

    def known(self, queue: str) -> Place | None:
        """The same, if it is there; nothing is made.

        Raises:
            botocore.exceptions.ClientError: SQS refuses.
        """
        found = self._places.get(queue) or self._seen.get(queue)
        if found is not None:
            return found
        url, dead = (self._url(sqs_name(queue, self.namespace, suffix)) for suffix in ("", DEAD))
        if url is None or dead is None:
            return None
        delayed = self._url(sqs_name(queue, self.namespace, DELAYED)) if is_fifo(queue) else None
        if is_fifo(queue) and delayed is None:
            return None
        return self._seen.setdefault(queue, Place(url, dead, delayed))

    def forgetting(self, queue: str, call: Callable[[Place], T], otherwise: T) -> T:
        """What `call` makes of a queue; `otherwise` where it does not exist, or not any more."""
        found = self.known(queue)
        if found is None:
            return otherwise
        try:
            return call(found)
        except SQS_ERRORS as error:
            if not is_missing(error):
                raise
            self.forget(queue)
            return otherwise

    def depth(self, queue: str) -> int:
        """Jobs that wait or run; 0 where there is no such queue."""
        return self.forgetting(queue, lambda place: self.total(place.url, READY, IN_FLIGHT), 0)

    def delayed(self, queue: str) -> int:
        """The same of delayed jobs."""

        def count(place: Place) -> int:
            return self.total(place.delayed, *COUNTS) if place.delayed else self.total(place.url, LATER)

        return self.forgetting(queue, count, 0)

    def total(self, url: str, *names: str) -> int:
        """The sum of these attributes, which are counts."""
        return sum(map(int, self.attributes(url, *names).values()))

    def attributes(self, url: str, *names: str) -> dict[str, str]:
        """Of a queue; all where none is named."""
        answer = self.clients.quick.get_queue_attributes(QueueUrl=url, AttributeNames=list(names) or ["All"])
        return dict(answer.get("Attributes", {}))

    def _find(self, queue: str) -> Place:
        fifo = is_fifo(queue)
        kept = self.dead_retention.get(queue, LONGEST_RETENTION)
        dead = self._ensure(sqs_name(queue, self.namespace, DEAD), fifo=fifo, kept=kept)
        url = self._ensure(sqs_name(queue, self.namespace), fifo=fifo, dead=dead)
        delayed = None
        if fifo:  # a standard queue, and so without a redrive policy: its dead letters would have to be standard too
            delayed = self._ensure(sqs_name(queue, self.namespace, DELAYED), fifo=False)
        return Place(url, dead, delayed, self._look_at(queue, url, dead))

    def _url(self, name: str) -> str | None:
        try:
            return str(self.clients.quick.get_queue_url(QueueName=name)["QueueUrl"])
        except SQS_ERRORS as error:
            if is_missing(error):
                return None
            raise

    def _ensure(
        self, name: str, *, fifo: bool, dead: str | None = None, kept: float = LONGEST_RETENTION
    ) -> str:
        client, settings = self.clients.quick, self.clients.settings
        if not settings.create:
            return str(client.get_queue_url(QueueName=name)["QueueUrl"])
        found = self._url(name)
        if found is not None:
            return found
        retention = round(max(SHORTEST_RETENTION, min(kept, LONGEST_RETENTION)))
        wanted = {"MessageRetentionPeriod": str(retention), "VisibilityTimeout": str(self.visibility)}
        if fifo:
            wanted["FifoQueue"] = "true"
        if dead is not None:
            target = self.attributes(dead, "QueueArn")["QueueArn"]
            policy = {"deadLetterTargetArn": target, "maxReceiveCount": str(settings.max_receives)}
            wanted["RedrivePolicy"] = json.dumps(policy)
        self.logger.info("SQS queue %r is missing: it is made.", name)
        return str(client.create_queue(QueueName=name, Attributes=wanted)["QueueUrl"])

    def _look_at(self, queue: str, url: str, dead: str) -> int:
        """Say what is odd about a queue; the most bytes that a message may have."""
        try:
            found = self.attributes(url)
            kept = int(self.attributes(dead, "MessageRetentionPeriod").get("MessageRetentionPeriod", 0))
        except SQS_ERRORS as error:  # a missing right to look is no reason not to work
            if not is_missing(error):
                self.logger.debug("Queue %r: its attributes cannot be read: %s", queue, type(error).__name__)
            return LARGEST_BYTES
        for doubt in self._doubts(found, kept, self.dead_retention.get(queue, LONGEST_RETENTION)):
            self.logger.warning("Queue %r: %s", queue, doubt)
        return min(LARGEST_BYTES, int(found.get("MaximumMessageSize", LARGEST_BYTES)))

    def _doubts(self, found: Mapping[str, Any], kept: int, keep: float) -> list[str]:
        doubts = []
        for what, seconds, wanted in (
            ("jobs", int(found.get("MessageRetentionPeriod", LONGEST_RETENTION)), LONGEST_RETENTION),
            ("dead letters", kept or LONGEST_RETENTION, min(LONGEST_RETENTION, keep)),
        ):
            if seconds < wanted:
                doubts.append(
                    f"SQS deletes its {what} after {seconds / 86_400:g} days (MessageRetentionPeriod); 14 is the most."
                )
        policy = json.loads(found.get("RedrivePolicy") or "{}")
        most = int(policy.get("maxReceiveCount", 1000))
        if most < self.clients.settings.max_receives:
            doubts.append(
                f"SQS itself puts a job that was handed out {most} times to the dead letters (RedrivePolicy), also "
                f"one that workers only gave back: {self.clients.settings.max_receives} is a number that is not met "
                "by accident."
            )
        return doubts
