"""How a job lies in SQS: base64 of Dramatiq's message, as dramatiq-sqs writes and reads it."""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from dramatiq import Message

from littleq import job
from littleq.backends.forms import encoded
from littleq.backends.sqs.outages import SQSError

#: The most bytes that one message may have, and all of one request together.
LARGEST_BYTES = 1024 * 1024
#: Messages, receipts and so on in one request.
MOST_ENTRIES = 10
#: Where no group is said, all jobs of a FIFO queue are one: first in, first out without exception.
ONE_GROUP = "dramatiq"
#: What an attempt leaves on a message, or a death; the longest first. A job is worth more than its traceback.
_DISPENSABLE = ("traceback", "requeue_timestamp")


class MessageTooLarge(SQSError):
    """A message is larger than SQS takes."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message on its way to a queue.

    Attributes:
        body: as SQS stores it.
        delay: DelaySeconds; of no use on a FIFO queue.
        group, dedup: MessageGroupId and MessageDeduplicationId, where there are.
        reason: why it is a dead letter that nobody can read; a message attribute.
    """

    body: str
    delay: int = 0
    group: str | None = None
    dedup: str | None = None
    reason: str | None = None

    @property
    def size(self) -> int:
        """In bytes, as SQS counts."""
        attribute = 0 if self.reason is None else len(REASON) + len("String") + len(self.reason)
        return len(self.body.encode()) + attribute

    def entry(self, fifo: bool) -> dict[str, Any]:
        """As SendMessage and SendMessageBatch take it."""
        entry: dict[str, Any] = {"MessageBody": self.body}
        if fifo:
            entry["MessageDeduplicationId"] = self.dedup or dedup_of(self.body)
            entry["MessageGroupId"] = self.group or ONE_GROUP
        else:
            entry["DelaySeconds"] = self.delay  # 0 too: the queue may have a delay of its own
            if self.group:
                entry["MessageGroupId"] = self.group
        if self.reason is not None:
            entry["MessageAttributes"] = {REASON: {"DataType": "String", "StringValue": self.reason}}
        return entry


REASON = "littleq-reason"


def body_of(message: Message[Any]) -> str:
    """A message as SQS stores it."""
    return b64encode(encoded(message)).decode("ascii")


def decoded(body: str) -> Message[Any]:
    """
    Raises:
        Exception: whatever the encoder raises; it is no message.
    """
    return Message.decode(b64decode(body, validate=True))


def dedup_of(body: str) -> str:
    """A deduplication id. By the content: what differs in anything, its ready time or its attempts say, is another job,
    and what a client sends once more after a lost answer is the same."""
    return hashlib.sha256(body.encode()).hexdigest()


def fitting(message: Message[Any], largest: int) -> str:
    """The body of a retry or a dead letter: a traceback that makes it too large is left out.

    Raises:
        MessageTooLarge: it is too large without.
    """
    body = body_of(message)
    if len(body) <= largest:
        return body
    options = {key: value for key, value in message.options.items() if key not in _DISPENSABLE}
    dead = job.read(options).get("dead")
    if dead is not None:
        job.write(
            options, dead={key: value for key, value in dead.items() if key not in ("traceback", "message")}
        )
    return checked(message, body_of(replace(message, options=options)), largest)


def checked(message: Message[Any], body: str, largest: int) -> str:
    """`body`, if SQS takes it.

    Raises:
        MessageTooLarge: it does not.
    """
    if len(body) > largest:
        raise MessageTooLarge(
            f"Message {message.message_id!r} of actor {message.actor_name!r} has {len(body):,} bytes as SQS stores it: "
            f"queue {message.queue_name!r} takes up to {largest:,}; keep what is large elsewhere, and send where it is."
        )
    return body


def batches(parcels: Iterable[Parcel], largest: int = LARGEST_BYTES) -> Iterator[list[Parcel]]:
    """In requests as large as SQS takes, in order."""
    batch: list[Parcel] = []
    size = 0
    for parcel in parcels:
        if batch and (len(batch) == MOST_ENTRIES or size + parcel.size > largest):
            yield batch
            batch, size = [], 0
        batch.append(parcel)
        size += parcel.size
    if batch:
        yield batch
