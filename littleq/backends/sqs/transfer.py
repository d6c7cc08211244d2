"""SQS as an end of a move.

As a source it hides what was taken for ten minutes; receipts are written down, so that a second run deletes what the
first one gave. As a target it can look nothing up: of the ten jobs that were on their way when a move was killed, some
may come twice. A FIFO queue drops within five minutes what it has already.

SQS shows a delayed job only when its hop ends, after 15 minutes at the latest: those that are hidden are moved by a
later run.
"""

from __future__ import annotations

import time
from base64 import b64decode, b64encode
from collections import defaultdict
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any, Final

from littleq import job
from littleq.backends.forms import encoded, ready_form, with_options
from littleq.backends.sqs.broker import SQSBroker
from littleq.backends.sqs.delays import due_in, is_delayed
from littleq.backends.sqs.dispatch import GROUP, labels
from littleq.backends.sqs.names import is_fifo
from littleq.backends.sqs.outages import SQSError, in_plain_words
from littleq.backends.sqs.wire import (
    MOST_ENTRIES,
    ONE_GROUP,
    MessageTooLarge,
    body_of,
    fitting,
)
from littleq.backends.sqs.wire import Parcel as Sending
from littleq.backends.sqs.wire import (
    decoded as decoded_body,
)
from littleq.backends.transfer import Batch, Facts, Found, Kind, Opening, Parcel, Ref, decoded, with_death

#: How long what was taken is hidden, in seconds: far longer than a batch takes.
HIDE_SECONDS = 600
#: A receive that waits asks all of SQS's servers; one that does not may miss a message.
THOROUGH_WAIT_SECONDS = 1
#: How long a FIFO queue knows what it has taken in, in seconds; some of it for clocks that differ.
DEDUP_SECONDS = 290
_ATTRIBUTES: Final = ["SentTimestamp", "MessageGroupId", "DeadLetterQueueSourceArn"]


class SQSTransfer:
    """One queue of an SQS broker; see `littleq.backends.transfer.Transfer`."""

    facts = Facts(finds=True, gives="blindly", batch=MOST_ENTRIES, holds=f"{HIDE_SECONDS // 60} minutes")

    def __init__(self, broker: SQSBroker, queue: str, move: str) -> None:
        self._broker, self._queue, self._move = broker, queue, move
        self._held: dict[str, Ref] = {}

    # As a source. A note is a letter for the queue, and the receipt.

    def take(self, kind: Kind, limit: int) -> Sequence[Parcel]:
        parcels: list[Parcel] = []
        with in_plain_words(self._queue):
            url = self._url({"ready": "q", "delayed": "d", "dead": "x"}[kind])
            wait = 0
            while url is not None and len(parcels) < limit:
                found = self._receive(url, min(MOST_ENTRIES, limit - len(parcels)), wait)
                parcels += [self._parcel(kind, each) for each in found]
                if not found and (wait or parcels):
                    break
                wait = 0 if found else THOROUGH_WAIT_SECONDS
        self._held.update({parcel.parcel_id: parcel.ref for parcel in parcels})
        return parcels

    def forget(self, refs: Sequence[Ref]) -> set[str]:
        gone: set[str] = set()
        delete = self._broker.clients.quick.delete_message_batch
        for url, batch in self._by_url(refs):
            entries = [{"Id": str(n), "ReceiptHandle": ref.note[1:]} for n, ref in enumerate(batch)]
            with in_plain_words(self._queue):
                answer = delete(QueueUrl=url, Entries=entries)
            gone |= {batch[int(entry["Id"])].parcel_id for entry in answer.get("Successful", ())}
        for parcel_id in gone:
            self._held.pop(parcel_id, None)
        return gone

    def release(self, refs: Sequence[Ref] = ()) -> None:
        show = self._broker.clients.quick.change_message_visibility_batch
        for url, batch in self._by_url([*self._held.values(), *refs]):
            entries = [
                {"Id": str(n), "ReceiptHandle": ref.note[1:], "VisibilityTimeout": 0}
                for n, ref in enumerate(batch)
            ]
            with in_plain_words(self._queue):
                show(QueueUrl=url, Entries=entries)
        self._held.clear()

    def _receive(self, url: str, most: int, wait: int) -> list[dict[str, Any]]:
        answer = self._broker.clients.patient.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=most,
            WaitTimeSeconds=wait,
            VisibilityTimeout=HIDE_SECONDS,
            MessageSystemAttributeNames=_ATTRIBUTES,
        )
        return list(answer.get("Messages", ()))

    def _url(self, letter: str) -> str | None:
        place = self._broker.place(self._queue)
        return {"q": place.url, "d": place.delayed, "x": place.dead}[letter]

    def _by_url(self, refs: Sequence[Ref]) -> Iterator[tuple[str, list[Ref]]]:
        by_letter: dict[str, list[Ref]] = defaultdict(list)
        for ref in refs:
            by_letter[ref.note[:1]].append(ref)
        for letter, found in by_letter.items():
            url = self._url(letter)
            for first in range(0, len(found) if url else 0, MOST_ENTRIES):
                yield url or "", found[first : first + MOST_ENTRIES]

    def _parcel(self, kind: Kind, found: dict[str, Any]) -> Parcel:
        name, receipt, body = str(found["MessageId"]), found["ReceiptHandle"], found["Body"]
        attributes = found.get("Attributes", {})
        try:
            message = decoded_body(body)
        except Exception:  # an encoder's own errors, or no base64
            sent = int(attributes.get("SentTimestamp", 0)) / 1000
            data = _raw(body)
            if kind == "dead":
                return Parcel(name, kind, data, at=sent, note=f"x{receipt}", reason="undecodable")
            return Parcel(name, "ready", data, note=f"q{receipt}")
        if kind == "dead":
            death: Any = job.read(message.options).get("dead", {})
            at = death.get("at") if isinstance(death, dict) else None
            if not isinstance(at, (int, float)):
                at = int(attributes.get("SentTimestamp", 0)) / 1000
            poison = not death and "DeadLetterQueueSourceArn" in attributes
            deliveries = self._broker.settings.max_receives if poison else None
            return Parcel(name, kind, b64decode(body), at=at, deliveries=deliveries, note=f"x{receipt}")
        letter = "d" if kind == "delayed" else "q"
        group = attributes.get("MessageGroupId")
        if group not in {None, ONE_GROUP} and GROUP not in message.options:
            message = with_options(message, **{GROUP: group})
        wait = due_in(message.options, time.time())
        data = encoded(ready_form(message, self._queue)) if is_delayed(message.options) else encoded(message)
        if wait > 0:
            return Parcel(name, "delayed", data, at=message.options["eta"] / 1000, note=f"{letter}{receipt}")
        return Parcel(name, "ready", data, note=f"{letter}{receipt}")

    # As a target.

    def mark(self) -> str:
        return f"{time.time():.0f}"

    def give(self, batch: Batch, parcels: Sequence[Parcel]) -> set[str]:
        with in_plain_words(self._queue):
            by_url: dict[str, list[tuple[Parcel, Sending]]] = defaultdict(list)
            for parcel in parcels:
                url, sending = self._sending(parcel)
                by_url[url].append((parcel, sending))
            given: set[str] = set()
            for url, pairs in by_url.items():
                unsent = self._broker.outbox.send_all(url, [sending for _, sending in pairs])
                given |= {parcel.parcel_id for n, (parcel, _) in enumerate(pairs) if n not in unsent}
        return given

    def present(self, batch: Batch, refs: Sequence[Ref]) -> Found:
        drops_doubles = is_fifo(self._queue) and time.time() - float(batch.mark or 0) < DEDUP_SECONDS
        return Found(set(), is_exact=drops_doubles and all(ref.kind != "delayed" for ref in refs))

    def close(self, *, finished: bool) -> None:
        self._broker.close()

    def _sending(self, parcel: Parcel) -> tuple[str, Sending]:
        """Where a job goes, and what goes there."""
        broker, message = self._broker, decoded(parcel.data)
        place, fifo = broker.place(self._queue), is_fifo(self._queue)
        name = sha256(f"{self._move}:{parcel.parcel_id}".encode()).hexdigest()
        if parcel.kind == "dead":
            body = (
                _checked(b64encode(parcel.data).decode(), place.largest)
                if message is None
                else (fitting(decoded(with_death(parcel)) or message, place.largest))
            )
            reason = parcel.reason or ("undecodable" if message is None else None)
            return place.dead, Sending(body, group=name if fifo else None, dedup=name, reason=reason)
        wait = max(0.0, (parcel.at or 0.0) - time.time())
        if message is None:
            body = _checked(b64encode(parcel.data).decode(), place.largest)
            return place.url, Sending(body, broker.delays.seconds(wait), dedup=name)
        if wait > 0:
            body = _checked(body_of(with_options(message, eta=round((parcel.at or 0) * 1000))), place.largest)
            return place.delayed or place.url, Sending(body, broker.delays.seconds(wait), dedup=name)
        try:
            group, _ = labels(message)
        except SQSError:  # on another broker it was no label
            group = None
        group = group or _label(parcel.key)
        return place.url, Sending(_checked(b64encode(parcel.data).decode(), place.largest), 0, group, name)


def make_transfer(opening: Opening) -> SQSTransfer:
    return SQSTransfer(opening.broker, opening.queue, opening.move)


def _label(key: bytes | None) -> str | None:
    """A key of another broker's as a MessageGroupId: itself, where it can be one."""
    text = (key or b"").decode(errors="replace")
    return (
        text if 0 < len(text) <= 128 and text.isascii() and text.isprintable() and " " not in text else None
    )


def _raw(body: str) -> bytes:
    try:
        return b64decode(body, validate=True)
    except ValueError:
        return body.encode()


def _checked(body: str, largest: int) -> str:
    if len(body) > largest:
        raise MessageTooLarge(
            f"A job has {len(body):,} bytes as SQS stores it, and its queue takes up to {largest:,}: have it done "
            "where it is, or purge it."
        )
    return body
