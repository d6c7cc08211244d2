"""The controller: observe, decide, publish, one at a time over any number of replicas.

    tick ── lease ──> snapshot ──> truth, due times ──> decide each queue ──> publish ──> tell
              │         (ledger)      (broker)            (pure)            (ledger)
              ├─ another holds it: nothing to do
              └─ decided a moment ago: nothing to do

Any process may tick at any time; at most one decision an interval comes of it. Who decides holds a lease of most of an
interval, and publishes under it: what comes after the lease has gone to another is refused, so a controller that was
frozen in the middle of a tick changes nothing when it thaws. The state of the policy is stored with each decision, and
whoever takes over goes on from there. Round trips of a tick: lease, snapshot, truth, due times, publish, and records on
a takeover.

Failure handling. The rule behind all of it: not knowing never sends a worker away.

    ledger away       nothing can be published; decisions get stale and nobody acts on them; memory stays
    ledger emptied    who remembers goes on. Workers say again that they live within `PRESENCE_SECONDS`: until then
                      those that were there count as there. A queue that nobody remembers is not decided about before
                      it is known who serves it
    broker away       decided blind: as many workers as before, said so and renewed, so that it does not get stale
    one queue fails   logged once; that queue is not decided about, and begins anew with the next tick
    no answer to a    it may have been stored or not: the next tick reads what is in the ledger
    publish
"""

from __future__ import annotations

import gc
import logging
import os
import socket
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple

from littleq.autoscale import observer
from littleq.autoscale.events import SLAEvent, sla_events, tell
from littleq.autoscale.memory import Memory, Remembered
from littleq.autoscale.observer import NOBODY, DueTimes
from littleq.autoscale.pods.keeper import DeletionCosts, deletion_costs_for
from littleq.backends import backend_for, build_broker
from littleq.backends.base import Backend, TruthTable
from littleq.clock import SYSTEM_CLOCK, Clock
from littleq.config import Config
from littleq.ledger import open_ledger
from littleq.ledger.base import PRESENCE_SECONDS, Lease, Ledger, Record
from littleq.ledger.decisions import document
from littleq.metrics.sources import Source, SourceError
from littleq.policies import scaling
from littleq.policies.scaling import Decision, Observation, ScalingSettings

logger = logging.getLogger(__name__)

#: Name of the lease: one controller for all queues of a namespace.
LEASE: Final = "scaling"
#: A controller that is not heard of for so many intervals has lost the right to decide. Less than one: ticks that come
#: through a queue go to any of its workers, and those that another one gets would be lost otherwise.
LEASE_INTERVALS: Final = 0.8
#: A ledger that was emptied has heard of all workers after so many of their flushes.
FLUSHES: Final = 3.0
#: After a decision nobody makes another one for this share of an interval: ticks are not that punctual, and two
#: schedulers may send them.
REST_SHARE: Final = 0.6

Outcome = Literal["decided", "waiting", "held", "early", "away"]


@dataclass(frozen=True, slots=True)
class Tick:
    """What came of one tick.

    Attributes:
        outcome: `decided`; `waiting`: too little is known yet to decide about any queue; `held`: another controller
            decides; `early`: somebody has just decided; `away`: the ledger does not answer, so nothing can be decided.
        decisions: what was published, by queue.
        events: what was told.
    """

    outcome: Outcome
    decisions: Mapping[str, Decision] = field(default_factory=dict)
    events: tuple[SLAEvent, ...] = ()


class _Made(NamedTuple):
    """A decision that is to be published."""

    decision: Decision
    events: tuple[SLAEvent, ...]
    remembered: Remembered
    record: Record


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without the garbage collector: a tick over a thousand queues makes a million tuples and no cycle, and looking for
    one is half of its time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Controller:
    """Decides for the configured queues; see the module. Thread-safe: of two ticks at once one finds nothing to do.

    Args:
        ledger, backend: where to look and publish, or how to get there at the first tick.
        clock: measures how long a tick takes; what is decided goes by the ledger's clock.
        beside: told of each decision of this controller, once it is published; must not wait.
        holder: unique to this controller; default: host, process and a random word.
    """

    def __init__(
        self,
        config: Config,
        ledger: Ledger | Source[Ledger],
        backend: Backend | Source[Backend],
        clock: Clock = SYSTEM_CLOCK,
        holder: str | None = None,
        beside: DeletionCosts | None = None,
    ) -> None:
        self._config, self._clock, self._beside = config, clock, beside
        self._queues = observer.scaled_queues(config)
        self._ledger = ledger if isinstance(ledger, Source) else Source("ledger", lambda: ledger)
        self._backend = backend if isinstance(backend, Source) else Source("broker", lambda: backend)
        self._holder = holder or f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._memory = Memory()
        self._lease: Lease | None = None
        self._empty_since: float | None = None  # the ledger had no decisions then
        self._has_published = False  # since then
        self._failing: set[str] = set()
        self._useful: Mapping[str, int | None] = {}  # as last heard, for a broker that is away has no fewer
        self._is_slow = False
        self._lock = threading.Lock()

    def tick(self) -> Tick:
        """Decide for all queues, unless somebody else does or has just done so."""
        if not self._lock.acquire(blocking=False):
            return Tick("early")
        try:
            began = self._clock.monotonic()
            with _no_collection():
                found = self._tick() if self._queues else Tick("waiting")
            if found.outcome == "decided":
                self._say_if_slow(self._clock.monotonic() - began)
        except SourceError:  # logged by the source, once an outage
            return Tick("away")
        finally:
            self._lock.release()
        if self._beside is not None and found.decisions:
            self._beside.decided({queue: made.desired_workers for queue, made in found.decisions.items()})
        return found

    def close(self) -> None:
        """Give the lease back, so that another controller goes on at once. Never raises for a ledger that is away."""
        if self._beside is not None:
            self._beside.close()
        with self._lock:
            lease, self._lease = self._lease, None
            self._memory.doubt()
            if lease is not None:
                try:
                    self._ledger.read(lambda ledger: ledger.release(lease))
                except SourceError:
                    logger.info("The lease could not be given back, it runs out by itself.")

    def _tick(self) -> Tick:
        interval = self._config.decide_seconds
        lease = self._ledger.read(
            lambda ledger: ledger.lease(LEASE, self._holder, LEASE_INTERVALS * interval)
        )
        self._lease = lease
        if lease is None:
            self._memory.doubt()
            return Tick("held")
        # Either way: a clock that was set back must not stop decisions until it is where it was.
        if lease.decided_at is not None and abs(lease.taken_at - lease.decided_at) < REST_SHARE * interval:
            return Tick("early")
        if lease.decided_at is None and (self._empty_since is None or self._has_published):
            self._empty_since, self._has_published = lease.taken_at, False
        if self._memory.token != lease.token:
            _, records = self._ledger.read(lambda ledger: ledger.records(self._queues, states=True))
            self._memory.recall(records)
        snapshot = self._ledger.read(
            lambda ledger: ledger.snapshot(self._queues, fields=observer.FIELDS, recent=False)
        )
        staff = observer.staff_of(snapshot)
        settings = {
            queue: observer.settings_now(self._config.queues[queue], self._config, staff.get(queue, NOBODY))
            for queue in self._queues
        }
        truths, due = self._look(settings)
        settings = {
            queue: observer.within_useful(each, self._useful.get(queue)) for queue, each in settings.items()
        }
        young_for = self._young_for(lease, snapshot.taken_at)
        seen = observer.observe(snapshot, truths, due, self._config)
        made = {
            queue: decided
            for queue, observation in seen.items()
            if (decided := self._attempt(queue, observation, settings[queue], young_for)) is not None
        }
        return self._publish(lease, made)

    def _young_for(self, lease: Lease, now: float) -> float | None:
        """How long ago the ledger was emptied, or begun; None: long enough to know all workers again."""
        if self._empty_since is None:
            return None
        age = abs(now - self._empty_since)
        if age >= PRESENCE_SECONDS and lease.decided_at is not None:
            self._empty_since = None
        return age if age < PRESENCE_SECONDS else None

    def _look(
        self, settings: Mapping[str, ScalingSettings]
    ) -> tuple[Mapping[str, TruthTable] | None, Mapping[str, DueTimes] | None]:
        try:
            return self._backend.read(lambda backend: self._ask(backend, settings))
        except SourceError:
            return None, None

    def _ask(
        self, backend: Backend, settings: Mapping[str, ScalingSettings]
    ) -> tuple[Mapping[str, TruthTable], Mapping[str, DueTimes] | None]:
        truths = backend.inspector.truth(self._queues)
        self._useful = {queue: backend.most_workers(queue) for queue in self._queues}
        if backend.schedule is None:
            return truths, None
        bounds: dict[str, Sequence[float]] = {}
        for queue in self._queues:
            if queue in truths and truths[queue].delayed > 0:
                policy = self._memory.of(queue).policy
                learned = None if policy is None else policy.starts.seconds
                bounds[queue] = observer.due_bounds(settings[queue], learned)
        counts = backend.schedule.due_times_of(bounds) if bounds else {}
        return truths, {queue: observer.due_times(bounds[queue], counts[queue]) for queue in bounds}

    def _attempt(
        self, queue: str, seen: Observation, settings: ScalingSettings, young_for: float | None
    ) -> _Made | None:
        try:
            made = self._decide(queue, seen, settings, young_for)
        except Exception:
            if queue not in self._failing:
                logger.exception(
                    "Cannot decide about queue %r, its workers stay as they are. This is a bug in LittleQ: please "
                    "report it.",
                    queue,
                )
            self._failing.add(queue)
            self._memory.forget(queue)
            return None
        self._failing.discard(queue)
        return made

    def _decide(
        self, queue: str, seen: Observation, settings: ScalingSettings, young_for: float | None
    ) -> _Made | None:
        """None where no decision is better than one: nothing is known yet, of now and of before."""
        policy, events = self._memory.of(queue)
        if young_for is not None:
            if policy is None and self._is_obscure(seen, young_for):
                return None
            if policy is not None and policy.last is not None:
                seen = replace(seen, workers=max(seen.workers or 0, policy.last.workers or 0))
        decision, after = scaling.decide(settings, seen, policy)
        if policy is None and decision.regime == "blind":
            return None
        told, events = sla_events(queue, settings, decision, seen, events)
        remembered = Remembered(after, events)
        record = Record(document(decision, settings, events.counts), remembered.as_dict())
        return _Made(decision, told, remembered, record)

    def _is_obscure(self, seen: Observation, young_for: float) -> bool:
        """Whether workers may serve this queue that a young ledger has not heard of."""
        nobody_takes_them = bool(seen.ready) and seen.in_flight == 0 and not seen.workers
        return young_for < FLUSHES * self._config.flush_seconds and not nobody_takes_them

    def _publish(self, lease: Lease, made: Mapping[str, _Made]) -> Tick:
        if not made:
            return Tick("waiting")
        records = {queue: each.record for queue, each in made.items()}
        self._memory.doubt()  # until there is an answer
        if not self._ledger.read(lambda ledger: ledger.publish(lease, records)):
            return Tick("held")
        self._has_published = True
        self._memory.keep(lease.token, {queue: each.remembered for queue, each in made.items()})
        events = tuple(event for each in made.values() for event in each.events)
        tell(events)
        return Tick("decided", {queue: each.decision for queue, each in made.items()}, events)

    def _say_if_slow(self, seconds: float) -> None:
        is_slow = seconds > self._config.decide_seconds
        if is_slow and not self._is_slow:
            logger.warning(
                "A decision took %.1f s, longer than decide_seconds (%g s): set that higher.",
                seconds,
                self._config.decide_seconds,
            )
        self._is_slow = is_slow


def controller_for(config: Config) -> Controller:
    """A controller of the configured ledger and broker, which are opened at the first tick."""
    return Controller(
        config,
        ledger=Source("ledger", lambda: open_ledger(config)),
        backend=Source("broker", lambda: backend_for(build_broker(config))),
        beside=deletion_costs_for(config),
    )
