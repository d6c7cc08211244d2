"""What every broker must tell about a queue, in one vocabulary.

A backend wraps a Dramatiq broker that exists already: how its queues look from outside, what its dead
letters are, which of its errors pass by themselves. `backend_for` finds it from the broker, so nothing else
names a broker.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

from littleq.backends.capabilities import Capabilities
from littleq.backends.letters import DeadLetterStore
from littleq.errors import BackendError

if TYPE_CHECKING:
    from dramatiq import Message
    from dramatiq.broker import MessageProxy

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


Outcome = Literal["in", "deferred", "gone", "full"]


class Sending(NamedTuple):
    """One message on its way in.

    Attributes:
        message: as it was sent.
        delay: in ms; None: ready at once.
        bound: most jobs that the queue may hold with this one; None: any.
        overflow_delay: ms by which it is delayed when there is no room; None: it is refused.
        held: the job of this worker whose place it takes.
    """

    message: Message[Any]
    delay: int | None = None
    bound: int | None = None
    overflow_delay: int | None = None
    held: Message[Any] | MessageProxy | None = None


class Receipt(NamedTuple):
    """What became of a `Sending`.

    Attributes:
        message: as Dramatiq's `enqueue` returns it; a delayed one carries its delay queue and its `eta`.
        outcome: `in`; `deferred`: in, with its overflow delay; `gone`: this worker does not hold the job any more
            whose place it was to take; `full`: refused.
        depth: jobs in the queue, where it is full.
    """

    message: Message[Any]
    outcome: Outcome
    depth: int = 0


class PartlySent(BackendError):
    """Some messages of several did not go in.

    Attributes:
        sent, unsent: the messages that are in, and those that are not.
    """

    def __init__(self, text: str, sent: Sequence[Message[Any]], unsent: Sequence[Message[Any]]) -> None:
        super().__init__(text)
        self.sent, self.unsent = sent, unsent


class SendsMany(Protocol):
    """A broker that takes several messages at once."""

    def enqueue_many(self, sendings: Sequence[Sending], *, whole: bool = False) -> list[Receipt]:
        """Send messages; `whole`: all of them or none, where the broker holds the bound of a queue in the same step.

        Raises:
            PartlySent: it is known which are in and which are not.
        """
        ...


@runtime_checkable
class LetsGo(Protocol):
    """A consumer that can be told to take no more, and to give back what it holds.

    Attributes:
        takes_acks_when_closed: its thread may end while jobs of its run.
    """

    takes_acks_when_closed: bool

    def fetch_no_more(self) -> None:
        """Hand out nothing from this instant. Takes no lock: a signal handler calls it."""
        ...

    def hand_back(self) -> None:
        """Give back all that this consumer holds, running jobs too: the process ends next.

        Raises:
            Exception: the server does not take it; what is held comes back when the process has ended.
        """
        ...


class Schedule(Protocol):
    """The delayed jobs of a broker that keeps them on its server."""

    def due_times(self, queue: str, bounds: Sequence[float]) -> Sequence[int]:
        """How many delayed jobs are due within each of `bounds` (seconds from now, ascending), cumulative."""
        ...

    def due_times_of(self, bounds: Mapping[str, Sequence[float]]) -> Mapping[str, Sequence[int]]:
        """`due_times` of several queues, each with bounds of its own, at one instant and in one round trip."""
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
class Backend:
    """A broker, as the rest of LittleQ sees it.

    Attributes:
        capabilities: what can be expected of it.
        exact_depth: the depth can be read in memory at each send; elsewhere it is sampled.
        is_transient: whether an exception of the broker's client means "not now" rather than "never".
        extend: prepare the broker for the stack: exact accounts, what its own consumers lack. Called once,
        by `install`.
        bounded: the broker holds the bound of a queue itself, in the step that enqueues: nothing is sampled.
        schedule, controls: None where the broker has none.
        ping: asks the server for a sign of life, within two seconds, and raises where it gives none; None: there is no
            server.
        serves: whether a URL is that of the broker's server.
        most_workers: how many worker processes can take jobs of a queue at a time; None: any number.
        tell_purged: takes whom to tell of dead letters that the broker deletes by itself (queue, how many), where it
            keeps no accounts.
    """

    name: str
    inspector: Inspector
    dead_letters: DeadLetterStore
    exact_depth: bool
    is_transient: Callable[[BaseException], bool]
    extend: Callable[[Config], None]
    capabilities: Capabilities
    bounded: bool = False
    schedule: Schedule | None = None
    controls: Controls | None = None
    ping: Callable[[], object] | None = None
    serves: Callable[[str], bool] = lambda _url: False
    most_workers: Callable[[str], int | None] = lambda _queue: None
    tell_purged: Callable[[Callable[[str, int], object]], None] = lambda _tell: None
