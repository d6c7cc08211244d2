"""How jobs leave one broker for another: what `littleq move` asks of each of the two.

    source                                            target
    take ──> parcels, held, not removed ──────────────> give (confirmed)
    forget (removes them) <──────────────────────────── ids that are in

A job is given before it is forgotten, so that whatever is killed when loses none. Each step names jobs by an id that is
the same whenever a job is taken, and belongs to a numbered batch that was written down before: after a crash the target
is asked what of the last batch it has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from dramatiq import Message

from littleq import job
from littleq.backends import build_broker, kind_of
from littleq.errors import BackendError
from littleq.redaction import redact_url

if TYPE_CHECKING:
    from dramatiq import Broker

    from littleq.config import Config

#: What of a queue moves, the most urgent first. What a worker holds is neither: it is done where it is.
Kind = Literal["ready", "delayed", "dead"]
KINDS: Final[tuple[Kind, ...]] = ("ready", "delayed", "dead")

#: What a target can tell of a batch whose fate nobody knows: it takes each batch once; it can look each job up, but for
#: those that its workers took; or it can look nothing up.
Gives = Literal["once", "looked up", "blindly"]

#: How long a job stays held by a move that has ended without a word, in seconds; then it is ready (or due) at its
#: source again. Long enough for somebody to notice and to start the command again.
HOLD_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Facts:
    """What can be expected of a broker at either end.

    Attributes:
        finds: as a source it finds held jobs by what was written down of them. Else they come back by themselves
            when the connection ends, and are recognised when they are taken again.
        gives: see `Gives`.
        batch: most jobs that it takes in at a time; with a target that looks nothing up, most that a crash can double.
        holds: how long it holds what is taken after the mover has died, in words.
    """

    finds: bool
    gives: Gives
    batch: int
    holds: str


@dataclass(frozen=True, slots=True)
class Parcel:
    """One job on its way.

    Attributes:
        parcel_id: unique at the source, and the same whenever the job is taken.
        kind: where it was, and will be.
        data: the message as a worker would get it, encoded; or something that nobody can decode.
        at: when it is due (delayed) or died (dead), s since the epoch; None: ready.
        deliveries: how many workers died on it, where the broker counts.
        note: what its source needs to find it again; no secret.
        reason: why nobody could read it, where the broker of a dead letter says so.
        key: what keeps its order among others (a partition key, a message group), where it is not in the message.
    """

    parcel_id: str
    kind: Kind
    data: bytes
    at: float | None = None
    deliveries: int | None = None
    note: str = ""
    reason: str = ""
    key: bytes | None = None

    @property
    def ref(self) -> Ref:
        return Ref(self.parcel_id, self.kind, self.note)


@dataclass(frozen=True, slots=True)
class Ref:
    """What is written down of a parcel."""

    parcel_id: str
    kind: Kind
    note: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """Parcels that are given in one step.

    Attributes:
        move: name of the move, unique for ever.
        number: 1, 2, 3, …
        mark: where the target stood before it (`Transfer.mark`).
    """

    move: str
    number: int
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What a target says of a batch after a crash.

    Attributes:
        ids: jobs that are in, or were.
        is_exact: whether the others never came in. Else some may have: they are given all the same, and may be doubled.
    """

    ids: set[str]
    is_exact: bool = True


class Transfer(Protocol):
    """One queue of one broker, as an end of one move. Any method may raise what the broker's client raises."""

    facts: Facts

    # As a source.

    def take(self, kind: Kind, limit: int) -> Sequence[Parcel]:
        """Hold up to `limit` jobs, so that no worker gets them; none: there is nothing of this kind (for now).

        Dead letters need not be held: nobody takes them but an operator.
        """
        ...

    def forget(self, refs: Sequence[Ref]) -> set[str]:
        """Remove jobs that are elsewhere now; the ids of those that were here. Removed, they count as purged.

        A source that `finds` says the same when it is asked again. The others have been taken by somebody else since,
        which can only happen when the hold had run out.
        """
        ...

    def release(self, refs: Sequence[Ref] = ()) -> None:
        """Give back all that this move holds: as ready, due or dead as they were.

        Args:
            refs: what an earlier process held, as far as it was written down.
        """
        ...

    # As a target.

    def mark(self) -> str:
        """Where it stands, so that `present` knows from where to look."""
        ...

    def give(self, batch: Batch, parcels: Sequence[Parcel]) -> set[str]:
        """Take jobs in, past any bound, confirmed; the ids of those that are in.

        They keep message id, attempts, stamps, due time and the record of their death, and count as admitted. What is
        due by now is ready. A target that gives `once` changes nothing when it is asked again.
        """
        ...

    def present(self, batch: Batch, refs: Sequence[Ref]) -> Found:
        """Which of a batch are in, after a crash."""
        ...

    def close(self, *, finished: bool) -> None:
        """No more is asked. `finished`: the move is over, and nothing of it need be remembered."""
        ...


@dataclass(slots=True)
class Opening:
    """What a transfer is made from.

    Attributes:
        broker: made from the configuration, without LittleQ's middlewares.
        queue: as Dramatiq calls it.
        move: name of the move.
    """

    broker: Any
    queue: str
    move: str
    config: Config | None = field(default=None, repr=False)


def open_transfer(config: Config, broker: Broker, queue: str, move: str) -> Transfer:
    """One end of a move.

    Raises:
        BackendError: no jobs can be moved from or to such a broker.
    """
    kind = kind_of(config.url)
    name = "none" if kind is None else kind.name
    try:
        module = import_module(f"littleq.backends.{name}.transfer")
    except ModuleNotFoundError as error:
        if error.name != f"littleq.backends.{name}.transfer":
            raise
        raise BackendError(
            f"No job can be moved from or to {redact_url(config.url)}: it is in the memory of one process."
        ) from None
    make: Callable[[Opening], Transfer] = module.make_transfer
    return make(Opening(broker, queue, move, config))


def open_broker(config: Config) -> Broker:
    """A broker that only carries jobs."""
    return build_broker(config)


def decoded(data: bytes) -> Message[Any] | None:
    """The message in a parcel, None where nobody can read it."""
    try:
        return Message.decode(data)
    except Exception:  # an encoder's own errors, whatever they are
        return None


def is_known(data: bytes) -> bool:
    """Whether a job is in LittleQ's accounts."""
    message = decoded(data)
    return message is not None and job.is_known(message.options)


def with_death(parcel: Parcel) -> bytes:
    """What a dead letter is where no count stands beside it: why the broker took it for poison goes into its record."""
    message = decoded(parcel.data)
    if message is None or parcel.deliveries is None or job.read(message.options).get("dead"):
        return parcel.data
    options = dict(message.options)
    job.write(options, dead={"reason": "poison", "attempts": parcel.deliveries, "at": parcel.at or 0.0})
    return bytes(replace(message, options=options).encode())


def content_id(data: bytes, seen: Collection[str] = ()) -> str:
    """An id for a job of a broker that gives none: by what is in it.

    Args:
        seen: ids that are taken. Two jobs that differ in nothing are two jobs all the same.

    >>> first = content_id(b"x")
    >>> second = content_id(b"x", {first})
    >>> first != second, second == content_id(b"x", {first})
    (True, True)
    """
    base = sha256(data).hexdigest()[:32]
    number, name = 1, base
    while name in seen:
        number += 1
        name = f"{base}-{number}"
    return name
