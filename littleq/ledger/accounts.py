"""The accounts of queues whose broker keeps none, from what the processes counted.

They are a flush old, and two things are missing from them for ever: what a killed process had not flushed, and that a
job which its broker delivered twice was done once. Both are bounded, and the bounds stand beside the numbers.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass
from typing import Final

from littleq.backends.base import Accounts
from littleq.ledger import fields
from littleq.ledger.base import SLOT_SECONDS, Batch, Ledger, LedgerSnapshot

#: What puts a first-time job into a queue. One that was diverted is admitted to the queue that took it.
ENTERED: Final = ("admitted", "deferred", "bypassed")
_ENDED: Final = (fields.DONE, fields.SKIPPED, fields.PURGED)
#: Jobs that a thread may have had in hand when its process was killed: one it ran, one fetched for it. They come again.
_IN_HAND: Final = 2


@dataclass(frozen=True, slots=True)
class LedgerAccounts:
    """The accounts of a queue by the ledger.

    Attributes:
        behind: most jobs by which they may be off because live processes have not flushed yet.
        per_death: most jobs by which each killed process may have put them off for good.
    """

    accounts: Accounts
    behind: int
    per_death: int


def ledger_accounts(
    snapshot: LedgerSnapshot, queue: str, *, flush_seconds: float, took_seconds: float, threads: int
) -> LedgerAccounts:
    """The accounts of one queue.

    Args:
        snapshot: with the recent counts.
        flush_seconds: of the processes.
        took_seconds: how long reading the ledger and the broker took: jobs moved on meanwhile.
        threads: of a worker process, where none lives that could be asked.
    """
    known = snapshot.queue(queue)
    totals = known.totals
    entered = sum(fields.total(totals, name) for name in ENTERED)
    moved = {name: fields.total(known.recent, name) for name in (*ENTERED, *_ENDED)}
    window = known.recent_seconds
    if not window:  # too young for a window: all of it came within a slot
        moved, window = {name: fields.total(totals, name) for name in moved}, SLOT_SECONDS
    behind = sum(moved.values()) / window * (flush_seconds + took_seconds)
    threads = max((each.threads for each in snapshot.workers if queue in each.queues), default=threads)
    services = totals.get(f"{fields.SERVICE}:count", 0.0)
    service = totals.get(f"{fields.SERVICE}:sum", 0.0) / services if services else 0.0
    finished = threads * flush_seconds / service if service > 0 else 0.0
    sent = sum(moved[name] for name in ENTERED) / window * flush_seconds
    return LedgerAccounts(
        Accounts(
            admitted=round(entered),
            done=round(totals.get(fields.DONE, 0.0)),
            skipped=round(totals.get(fields.SKIPPED, 0.0)),
            purged=round(totals.get(fields.PURGED, 0.0)),
        ),
        behind=math.ceil(behind),
        per_death=math.ceil(max(finished, sent)) + _IN_HAND * threads,
    )


def count_purged(ledger: Ledger, queue: str, jobs: int) -> None:
    """Count jobs that were deleted.

    Raises:
        LedgerUnavailable: it may be counted or not.
    """
    ledger.apply(Batch(f"purge:{uuid.uuid4().hex}", 1, {queue: {fields.PURGED: jobs}}))
