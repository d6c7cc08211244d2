"""What a broker can hold a queue to, as data.

The table in docs/brokers.md is made from it, and the conformance suite expects of each broker what stands here, no
more and no less: a difference between brokers is a row, not a test that is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

#: How a bound on a queue is held: in the step that enqueues; by the broker's own limit; or on a sampled depth.
Bound = Literal["atomic", "own", "sampled"]
#: In which order jobs that are ready are handed out: as sent; as sent within a key; roughly.
Order = Literal["fifo", "by key", "rough"]
#: How a job changes its place (a retry, a dead letter, a replay): in one step; or the new one is confirmed first, so
#: that a death between the two leaves both.
Move = Literal["one step", "copy first"]
#: Who knows how often a job killed its worker: the broker; the broker, which cannot tell it from jobs that had merely
#: been handed out with it; or the ledger.
Poison = Literal["broker", "handed out", "ledger"]
#: Where the accounts of a queue are kept: by the broker, exact at every instant; or by the ledger.
Accounts = Literal["exact", "ledger"]


class Fact(NamedTuple):
    """One capability: what a program asks for, and how a reader is told."""

    value: Any
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What one kind of broker does.

    Attributes:
        broker: its name for people.
        bound: a `Bound`: how the limit of a queue is held, and what may pass it.
        order: an `Order`.
        delay: grain of a delay in seconds; who holds what is not due, and for how long at most.
        move: a `Move`: whether a retry, a dead letter or a replay can be doubled by a death.
        recovery: seconds until the jobs of a killed process are back at most, where its machine lives; None: when the
            broker finds out by other means.
        machine_recovery: the same where its machine, or the network to it, is gone.
        restart: whether jobs survive a restart of the server.
        poison: a `Poison`.
        dead_letters: seconds for which they are kept; None: for ever.
        pause: whether a queue can be paused for all workers.
        cancel: whether a delayed job can be taken away.
        due_times: whether it can be told when delayed jobs are due.
        fleet_concurrency: whether `concurrency_global` is held.
        batch: whether `send_many` takes fewer round trips than messages.
        accounts: an `Accounts`.
        useful_workers: whether more workers always help: False where the broker bounds how many can.
        truth: fields of the truth table that are exact; the others are approximate or missing, as `truth_says` has it.
        truth_says: how old and how wrong the others may be.
    """

    broker: str
    bound: Fact
    order: Fact
    delay: Fact
    move: Fact
    recovery: Fact
    machine_recovery: Fact
    restart: Fact
    poison: Fact
    dead_letters: Fact
    pause: Fact
    cancel: Fact
    due_times: Fact
    fleet_concurrency: Fact
    batch: Fact
    accounts: Fact
    useful_workers: Fact
    truth: frozenset[str] = frozenset()
    truth_says: str = ""

    def facts(self) -> Mapping[str, Fact]:
        """All rows of the table, by name."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: fact for name, fact in found.items() if isinstance(fact, Fact)}


#: How brokers without a feature say so.
NO_PAUSE = Fact(False, "No: stop the workers of the queue instead.")
NO_CANCEL = Fact(False, "No: a delayed job cannot be found before it is due.")
NO_DUE_TIMES = Fact(False, "No.")
ALL_WORKERS = Fact(True, "Every worker more can take jobs.")
NO_FLEET_CONCURRENCY = Fact(False, "No: `concurrency` bounds each process.")
LEDGER_ACCOUNTS = Fact(
    "ledger", "By the ledger, a flush late; what a killed process had not flushed is missing from them."
)
LEDGER_POISON = Fact(
    "ledger",
    "The ledger counts the starts of jobs that were handed out before; in memory, nothing is remembered.",
)
