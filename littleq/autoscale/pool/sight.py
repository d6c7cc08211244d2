"""What a pool sees of the fleet: decisions, and jobs that wait where no worker is. Read beside the pool's own loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from littleq.backends.base import Inspector, TruthTable
from littleq.background import Background
from littleq.clock import SYSTEM_CLOCK, Clock

logger = logging.getLogger(__name__)

#: How often it looks, in seconds: a queue at no workers is woken within this and the start of a process.
LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Desired:
    """A decision, as far as a pool obeys it.

    Attributes:
        workers: how many the queue shall have.
        age: how old it was when it was read, in seconds.
        reason: for an operator.
    """

    workers: int
    age: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Sight:
    """One look.

    Attributes:
        decisions: by queue.
        waiting: queues without a worker where a job waits, or is due by the time one would be there.
        taken_at: when (monotonic).
    """

    decisions: Mapping[str, Desired] = field(default_factory=dict)
    waiting: frozenset[str] = frozenset()
    taken_at: float = float("-inf")

    def desired(self, queue: str, now: float, stale_seconds: float) -> Desired | None:
        """The decision about a queue; None if there is none, or none that is newer than `stale_seconds`."""
        found = self.decisions.get(queue)
        if found is None or found.age + (now - self.taken_at) > stale_seconds:
            return None
        return found


def is_waiting(truth: TruthTable, lead: float) -> bool:
    """Whether a queue without workers needs one now.

    Args:
        truth: of the queue.
        lead: seconds that a worker takes to start: a delayed job that is due by then needs it now.

    >>> is_waiting(TruthTable("q", delayed=1, next_due=0.5), lead=1.0)
    True
    """
    if truth.paused:
        return False
    due = truth.next_due is not None and truth.next_due <= lead
    return truth.ready > 0 or truth.orphaned > 0 or due


class Lookout:
    """Looks twice a second, on a thread of its own: a server that is away must not hold up the pool.

    A look that fails leaves what was seen before; it gets older, and then the pool holds what it has.

    Args:
        decisions: reads the decisions that are published now.
        inspector: reads the queues.
        empty: the queues that have no worker; asked before each look.
        lead: seconds that a worker takes to start.
    """

    def __init__(
        self,
        decisions: Callable[[], Mapping[str, Desired]],
        inspector: Inspector,
        empty: Callable[[], Collection[str]],
        lead: Callable[[], float],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._decisions, self._inspector, self._empty, self._lead = decisions, inspector, empty, lead
        self._clock = clock
        self._sight = Sight()
        self._background = Background("littleq-lookout", LOOK_SECONDS, self.look)

    def start(self) -> None:
        self._background.start()

    def stop(self) -> None:
        self._background.stop()

    def __call__(self) -> Sight:
        """What was seen last. No I/O."""
        return self._sight

    def look(self) -> None:
        """Look now. Jobs that wait are seen even where no decision can be read."""
        began = self._clock.monotonic()
        old = self._sight
        waiting = self._waiting()
        self._sight = Sight(old.decisions, waiting, old.taken_at)
        self._sight = Sight(self._decisions(), waiting, began)

    def _waiting(self) -> frozenset[str]:
        empty = self._empty()
        if not empty:
            return frozenset()
        lead = self._lead()
        truths = self._inspector.truth(empty)
        return frozenset(queue for queue, truth in truths.items() if is_waiting(truth, lead))
