"""What every broker must tell about a queue, in one vocabulary.

A backend wraps a Dramatiq broker that exists already: how its queues look from outside, what its dead
letters are, which of its errors pass by themselves. `backend_for` finds it from the broker, so nothing else
names a broker.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from littleq.job import Death

if TYPE_CHECKING:
    from littleq.config import Config


@dataclass(frozen=True, slots=True)
class Accounts:
    """Where the jobs of a queue went since its first one; each number only grows.

    Retries, due delayed jobs, recovered and replayed jobs are the same job again and are not counted twice.
    """

    admitted: int = 0
    done: int = 0
    skipped: int = 0
    purged: int = 0


@dataclass(frozen=True, slots=True)
class TruthTable:
    """A queue from outside, at one instant.

    Attributes:
        ready: jobs that a worker could start now.
        in_flight: held by a live worker, prefetched or running.
        delayed: waiting for their due time.
        dead: dead-lettered and kept.
        orphaned: held by a worker that is gone.
        oldest_age: seconds since the oldest ready job became ready; None when none is ready or none is stamped.
        next_due: seconds until the next delayed job is due; None when none is delayed, or the broker cannot tell.
        paused: no job of the queue is handed out until it is resumed.
        accounts: read at the same instant; None where the broker cannot keep them.
        approximate: names of the fields above that are not exact.
    """

    queue: str
    ready: int = 0
    in_flight: int = 0
    delayed: int = 0
    dead: int = 0
    orphaned: int = 0
    oldest_age: float | None = None
    next_due: float | None = None
    paused: bool = False
    accounts: Accounts | None = None
    approximate: frozenset[str] = frozenset()

    @property
    def number_in_system(self) -> int:
        """L: jobs that wait or run now; delayed and dead ones do neither."""
        return self.ready + self.in_flight + self.orphaned

    @property
    def imbalance(self) -> int | None:
        """Admitted minus accounted for: 0 when conservation holds, > 0 jobs lost, < 0 jobs from elsewhere."""
        if self.accounts is None:
            return None
        accounted = self.number_in_system + self.delayed + self.dead
        accounts = self.accounts
        return accounts.admitted - accounted - accounts.done - accounts.skipped - accounts.purged


class Inspector(Protocol):
    """Reads queues; changes nothing."""

    def queues(self) -> set[str]:
        """Names of all queues the broker's server knows, without delay and dead-letter queues."""
        ...

    def truth(self, queues: Collection[str]) -> Mapping[str, TruthTable]:
        """The truth table of each queue, in one round trip."""
        ...

    def depths(self, queues: Collection[str]) -> Mapping[str, int]:
        """L of each queue: jobs that wait or run. Cheap: it is read several times a second while a queue is sent to."""
        ...

    def strangers(self, queue: str) -> int:
        """Jobs now in the queue, delayed or dead that never passed LittleQ. Scans the queue: slow."""
        ...


class Schedule(Protocol):
    """The delayed jobs of a broker that keeps them on its server."""

    def due_times(self, queue: str, bounds: Sequence[float]) -> Sequence[int]:
        """How many delayed jobs are due within each of `bounds` (seconds from now, ascending), cumulative."""
        ...

    def cancel(self, queue: str, message_id: str) -> int:
        """Take the delayed jobs of this message id (retries too) away, counted as purged; how many there were."""
        ...


class Controls(Protocol):
    """What an operator changes on a running queue, at once for all workers."""

    def pause(self, queue: str) -> bool:
        """Hand out no more jobs; False when the queue was paused already."""
        ...

    def resume(self, queue: str) -> bool:
        """Hand out jobs again; False when the queue was not paused."""
        ...


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead job, as listed and shown."""

    letter_id: str  # what replay and purge take
    queue: str
    actor: str
    message_id: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    options: Mapping[str, Any]
    died_at: float
    death: Death


class DeadLetterStore(Protocol):
    """The dead jobs of one broker."""

    def letters(self, queue: str) -> Iterator[DeadLetter]:
        """All dead jobs of a queue, oldest first, streamed."""
        ...

    def get(self, queue: str, letter_id: str) -> DeadLetter | None: ...

    def replay(self, queue: str, letter_id: str) -> bool:
        """Put one dead job back to its queue with a fresh set of attempts; False when it was not there (any more)."""
        ...

    def purge(self, queue: str, letter_ids: Iterable[str]) -> int:
        """Delete dead jobs for good; how many were there."""
        ...


@dataclass(frozen=True, slots=True)
class Backend:
    """A broker, as the rest of LittleQ sees it.

    Attributes:
        exact_depth: the depth can be read in memory at each send; elsewhere it is sampled.
        is_transient: whether an exception of the broker's client means "not now" rather than "never".
        extend: prepare the broker for the stack: exact accounts, what its own consumers lack. Called once,
        by `install`.
        bounded: the broker holds the bound of a queue itself, in the step that enqueues: nothing is sampled.
        schedule, controls: None where the broker has none.
    """

    name: str
    inspector: Inspector
    dead_letters: DeadLetterStore
    exact_depth: bool
    is_transient: Callable[[BaseException], bool]
    extend: Callable[[Config], None]
    bounded: bool = False
    schedule: Schedule | None = None
    controls: Controls | None = None
