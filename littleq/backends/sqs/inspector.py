"""How SQS queues look from outside: by SQS's own counts, which are approximate.

AWS says that they are right within a minute of the last change, as a rule within seconds. One request for a queue and
one for its dead letters; another one for the delayed jobs of a FIFO queue.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from littleq import job
from littleq.backends.base import TruthTable
from littleq.backends.sqs import outages
from littleq.backends.sqs.names import DEAD, DELAYED, FIFO, is_fifo, queue_name
from littleq.backends.sqs.queues import COUNTS, IN_FLIGHT, LATER, READY, Place
from littleq.backends.sqs.stock import HIDE_SECONDS
from littleq.backends.sqs.wire import MOST_ENTRIES, decoded
from littleq.background import survive_forks

if TYPE_CHECKING:
    from littleq.backends.sqs.broker import SQSBroker

T = TypeVar("T")

#: A truth table is asked for anew after this, in seconds: several readers a second must not pay each for its own.
FRESH_SECONDS = 0.25
#: Requests at a time, where several queues are asked for.
PARALLEL = 8
#: What is approximate.
FIELDS = frozenset({"ready", "in_flight", "delayed", "dead", "orphaned"})


class SQSInspector:
    """See the module. What a dead worker held counts as in flight until it is visible again.

    Args:
        fresh_seconds: how old a truth table may be.
    """

    def __init__(self, broker: SQSBroker, *, fresh_seconds: float = FRESH_SECONDS) -> None:
        self.fresh_seconds = fresh_seconds
        self._broker = broker
        self._known: dict[str, tuple[float, TruthTable]] = {}
        self.after_fork_in_child()
        survive_forks(self)

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()

    def queues(self) -> set[str]:
        """Names of all queues with the namespace that have dead letters beside them, and of what is declared here.

        One account and region may hold the queues of many apps: give each a namespace.
        """
        namespace = self._broker.prefix
        prefix = {"QueueNamePrefix": f"{namespace}_"} if namespace else {}
        pages = self._broker.clients.looking.get_paginator("list_queues").paginate(
            **prefix, PaginationConfig={"PageSize": 1000}
        )
        try:
            with outages.in_plain_words("*"):
                urls = [url for page in pages for url in page.get("QueueUrls", ())]
        except outages.SQSError as error:
            if outages.code_of(error.__cause__ or error) not in outages.NO_RIGHT:
                raise
            urls = []  # a role may do without the right to list
        names = {url.rsplit("/", 1)[-1] for url in urls}
        ours = {name for name in names if not _is_beside(name) and _beside(name) in names}
        found = {queue_name(name, namespace) for name in ours}
        return {name for name in found if name is not None} | set(self._broker.queues)

    def truth(self, queues: Collection[str]) -> Mapping[str, TruthTable]:
        return self._for_each(queues, self._recent)

    def depths(self, queues: Collection[str]) -> Mapping[str, int]:
        """Asked anew each time: the caller counts what comes in after it asked."""
        return self._for_each(queues, self._depth)

    def strangers(self, queue: str) -> int:
        """Of what is ready and dead; what is held or delayed SQS shows to nobody. Hides what it looks at from the
        workers for the moment."""

        def count(place: Place) -> int:
            return sum(self._strangers_at(address) for address in (place.url, place.dead))

        with outages.in_plain_words(queue):
            return self._broker.addresses.forgetting(queue, count, 0)

    def _strangers_at(self, address: str) -> int:
        client, receipts, strangers = self._broker.clients.quick, [], 0
        try:
            while found := client.receive_message(
                QueueUrl=address, MaxNumberOfMessages=MOST_ENTRIES, VisibilityTimeout=HIDE_SECONDS
            ).get("Messages"):
                for each in found:
                    receipts.append(each["ReceiptHandle"])
                    strangers += _is_stranger(each["Body"])
        finally:
            for at in range(0, len(receipts), MOST_ENTRIES):
                entries = [
                    {"Id": str(number), "ReceiptHandle": receipt, "VisibilityTimeout": 0}
                    for number, receipt in enumerate(receipts[at : at + MOST_ENTRIES])
                ]
                client.change_message_visibility_batch(QueueUrl=address, Entries=entries)
        return strangers

    def _for_each(self, queues: Collection[str], ask: Callable[[str], T]) -> dict[str, T]:
        names = list(queues)
        if len(names) < 2:
            return {name: ask(name) for name in names}
        with ThreadPoolExecutor(min(PARALLEL, len(names)), "littleq-sqs-inspector") as pool:
            return dict(zip(names, pool.map(ask, names), strict=True))

    def _depth(self, queue: str) -> int:
        with outages.in_plain_words(queue):
            return self._broker.addresses.depth(queue)

    def _recent(self, queue: str) -> TruthTable:
        with self._lock:
            known = self._known.get(queue)
        if known is not None and time.monotonic() - known[0] < self.fresh_seconds:
            return known[1]
        began = time.monotonic()
        found = self._ask(queue)
        with self._lock:
            self._known[queue] = began, found
        return found

    def _ask(self, queue: str) -> TruthTable:
        addresses = self._broker.addresses

        def table(place: Place) -> TruthTable:
            counts = addresses.attributes(place.url, *COUNTS)
            return TruthTable(
                queue,
                ready=int(counts.get(READY, 0)),
                in_flight=int(counts.get(IN_FLIGHT, 0)),
                delayed=int(counts.get(LATER, 0))
                + (addresses.total(place.delayed, *COUNTS) if place.delayed else 0),
                dead=addresses.total(place.dead, *COUNTS),
                approximate=FIELDS,
            )

        with outages.in_plain_words(queue):
            return addresses.forgetting(queue, table, TruthTable(queue, approximate=FIELDS))


def _is_beside(name: str) -> bool:
    stem = name.removesuffix(FIFO)
    return stem.endswith(DEAD) or (not is_fifo(name) and stem.endswith(DELAYED))


def _beside(name: str) -> str:
    return f"{name.removesuffix(FIFO)}{DEAD}{FIFO if is_fifo(name) else ''}"


def _is_stranger(body: str) -> bool:
    try:
        return not job.is_known(decoded(body).options)
    except Exception:  # whatever an encoder raises
        return True
