"""What `monitor` knows: one reading of broker and ledger after another, and the recent past of each queue."""

from __future__ import annotations

import math
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from littleq.backends.trouble import START, BrokerUnavailable
from littleq.cli.root import without_secrets
from littleq.cli.show import rate
from littleq.ledger import fields
from littleq.ledger.base import RECENT_SLOTS, SLOT_SECONDS
from littleq.metrics.observe import QueueReport, observe
from littleq.metrics.sources import Source, SourceError

if TYPE_CHECKING:
    from littleq.backends.base import Inspector, TruthTable
    from littleq.config import Config
    from littleq.ledger.base import Ledger, LedgerSnapshot

#: The ledger puts the name of the class before the words of the server's client, the broker does not.
_CLASS_NAME = re.compile(r"^\w+Error: ")

T = TypeVar("T")
Answer = TypeVar("Answer")

#: The window of the ledger's rates, in seconds: L is averaged over the same.
RECENT_SECONDS = SLOT_SECONDS * RECENT_SLOTS
#: Samples kept for a sparkline: wider than any terminal shows.
HISTORY = 240
#: How often the broker is asked for queues that nobody here knows, in seconds: it may have to scan its keys.
DISCOVERY_SECONDS = 30.0
#: How long the broker may take, in seconds: long enough to hear why it does not answer.
BROKER_SECONDS = 7.0


@dataclass(frozen=True, slots=True)
class Status:
    """How a queue is, in a word.

    Attributes:
        word: `ok`, `idle`, `shedding`, `at risk`, `breaching`, `no worker`, `paused` or `unknown`.
        why: a few words more; may be empty.
    """

    word: str
    why: str = ""


def status_of(report: QueueReport) -> Status:
    """The worst thing that can be said about a queue now."""
    truth = report.truth
    if truth is not None and truth.paused:  # by somebody's will, and the cause of all that may be worse
        return Status("paused", "no job is handed out")
    if report.servers is None or truth is None:
        return Status("unknown")
    if not report.servers and (truth.ready or report.arrival_rate):
        status = Status("no worker", "nobody serves it")
    elif (report.burn_rate or 0) > 1:
        status = Status("breaching", f"{report.burn_rate:.2g} times what it may")
    elif (report.headroom or 0) < 0:
        status = Status("at risk", "a breach is predicted")
    elif report.shed_rate:
        status = Status("shedding", f"{rate(report.shed_rate)} refused")
    else:
        status = Status("ok" if report.number_in_system or report.arrival_rate else "idle")
    return status


@dataclass(slots=True)
class History:
    """The recent past of one queue: depth, and λ between two readings."""

    taken_at: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    depth: deque[float | None] = field(default_factory=lambda: deque(maxlen=HISTORY))
    arrival_rate: deque[float | None] = field(default_factory=lambda: deque(maxlen=HISTORY))
    _last: tuple[float, float] | None = None

    def add(self, at: float, report: QueueReport, snapshot: LedgerSnapshot | None) -> None:
        """Note one reading; what could not be read leaves a gap."""
        depth = report.number_in_system
        self.taken_at.append(at)
        self.depth.append(None if depth is None else float(depth))
        self.arrival_rate.append(self._rate_since(report.queue, snapshot))

    def mean_depth(self) -> float | None:
        """L as Little's Law has it: the mean over the last minute's readings; None of fewer than two."""
        recent = [
            depth
            for at, depth in zip(self.taken_at, self.depth, strict=True)
            if depth is not None and at > self.taken_at[-1] - RECENT_SECONDS
        ]
        return sum(recent) / len(recent) if len(recent) > 1 else None

    def _rate_since(self, queue: str, snapshot: LedgerSnapshot | None) -> float | None:
        if snapshot is None:
            self._last = None
            return None
        now, offered = snapshot.taken_at, fields.total(snapshot.queue(queue).totals, fields.OFFERED)
        before, self._last = self._last, (now, offered)
        if before is None or now <= before[0]:
            return None
        return max(0.0, offered - before[1]) / (now - before[0])


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything at one moment.

    Attributes:
        taken_at: s since the epoch, by this machine's clock.
        away: what could not be read, and why: `broker`, `ledger`.
    """

    taken_at: float
    reports: Mapping[str, QueueReport]
    away: Mapping[str, str]

    def outage(self) -> tuple[str, str] | None:
        """What does not answer, as the beginning of a sentence, and why; None when all is well."""
        if not self.away:
            return None
        verb = "does" if len(self.away) == 1 else "do"
        why = "; ".join(dict.fromkeys(self.away.values()))
        return f"The {' and the '.join(self.away)} {verb} not answer", why

    def record(self) -> dict[str, Any]:
        """All of it for scripts: seconds, rates per second, null where a number is not known."""
        return {
            "taken_at": self.taken_at,
            "away": dict(self.away),
            "queues": {name: _record(report) for name, report in self.reports.items()},
        }


def _record(report: QueueReport) -> dict[str, Any]:
    record = {"status": status_of(report).word, **asdict(report)}
    if report.truth is not None:
        record["truth"]["approximate"] = sorted(report.truth.approximate)
        record["truth"]["imbalance"] = report.truth.imbalance
    return {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in record.items()}


class Watch:
    """Reads broker and ledger, both in one go, however badly they are.

    Args:
        wanted: the queues to look at; none: all that anybody knows.

    Attributes:
        advice: what to do about a server that is away.
    """

    def __init__(
        self,
        config: Config,
        broker: Source[Inspector],
        ledger: Source[Ledger],
        wanted: tuple[str, ...] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self.histories: dict[str, History] = {}
        self.known: set[str] = set(config.queues)
        self.advice = START
        self._broker, self._ledger, self._wanted, self._now = broker, ledger, wanted, now
        self._discover_at = -math.inf

    def read(self) -> Reading:
        """One reading, kept in the histories as well. Never raises for a server that is away."""
        away: dict[str, str] = {}
        snapshot = _try(self._ledger, lambda ledger: ledger.snapshot(), away)
        truths = _try(self._broker, lambda inspector: self._looked(inspector, snapshot), away)
        reports = observe(snapshot, truths, self.config)
        if self._wanted:
            reports = {name: reports[name] for name in dict.fromkeys(self._wanted) if name in reports}
        now = self._now()
        for name, report in reports.items():
            self.histories.setdefault(name, History()).add(now, report, snapshot)
        return Reading(now, reports, away)

    def _looked(self, inspector: Inspector, snapshot: LedgerSnapshot | None) -> Mapping[str, TruthTable]:
        try:
            return self._truths(inspector, snapshot)
        except BrokerUnavailable as error:
            self.advice = error.advice
            raise

    def _truths(self, inspector: Inspector, snapshot: LedgerSnapshot | None) -> Mapping[str, TruthTable]:
        if self._now() >= self._discover_at:
            self.known |= inspector.queues()
            self._discover_at = self._now() + DISCOVERY_SECONDS
        if snapshot is not None:
            self.known.update(snapshot.queues, *(worker.queues for worker in snapshot.workers))
        self.known.discard("")  # the ledger's name for "no queue"
        return inspector.truth(self._wanted or sorted(self.known))

    def unknown(self, reading: Reading) -> list[str]:
        """The wanted queues that nobody knows; none as long as somebody could not be asked."""
        return [] if reading.away else [name for name in self._wanted if name not in self.known]


def _try(source: Source[T], question: Callable[[T], Answer], away: dict[str, str]) -> Answer | None:
    try:
        return source.read(question)
    except SourceError as unavailable:
        cause = unavailable.__cause__ or unavailable
        plain = cause.reason if isinstance(cause, BrokerUnavailable) else str(cause)
        words = without_secrets(plain).replace("\n", " ").rstrip(".")
        away[source.name] = _CLASS_NAME.sub("", words) or type(cause).__name__
        return None


def open_watch(config: Config, wanted: tuple[str, ...]) -> Watch:
    """A watch on the configured servers, which are opened at the first reading."""

    def broker() -> Inspector:
        from littleq.backends import backend_for, build_broker

        return backend_for(build_broker(config)).inspector

    def ledger() -> Ledger:
        from littleq.ledger import open_ledger

        return open_ledger(config)

    return Watch(config, Source("broker", broker, BROKER_SECONDS), Source("ledger", ledger), wanted)
