"""Dead letters: what a broker must tell and do about its dead jobs, and one of them from what is stored of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, Unpack, cast

from dramatiq import Message

from littleq import job
from littleq.job import Death

if TYPE_CHECKING:
    from littleq.dead_letters import Group


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


class LetterFilter(TypedDict, total=False):
    """Which dead letters: all that pass each of these; left out or None: any.

    Attributes:
        actor: of this actor.
        fingerprint: of this accident: a key of `littleq.dead_letters.fingerprint`.
        since, until: died then or later, and before; s since the epoch.
    """

    actor: str | None
    fingerprint: str | None
    since: float | None
    until: float | None


#: Where a replayed job is: ready or held by a worker, waiting for a due time, dead again, or nowhere (done, say).
Whereabouts = Literal["queued", "delayed", "dead", "gone"]


class DeadLetterStore(Protocol):
    """The dead jobs of one broker."""

    def now(self) -> float:
        """The clock by which letters are dated, s since the epoch."""
        ...

    def letters(self, queue: str, **wanted: Unpack[LetterFilter]) -> Iterator[DeadLetter]:
        """Dead jobs, oldest first, streamed. One that goes meanwhile is passed over, one that comes is seen."""
        ...

    def letter_ids(self, queue: str, **wanted: Unpack[LetterFilter]) -> Iterator[str]:
        """The ids of `letters`, where the broker can without reading them."""
        ...

    def count(self, queue: str, **wanted: Unpack[LetterFilter]) -> int | None:
        """How many `letters` there are; None where the broker cannot tell without reading them all."""
        ...

    def groups(self, queue: str, **wanted: Unpack[LetterFilter]) -> Sequence[Group]:
        """The accidents among `letters`, the most letters first; memory grows with the accidents only."""
        ...

    def get(self, queue: str, letter_id: str) -> DeadLetter | None: ...

    def replay(self, queue: str, letter_id: str) -> bool:
        """Put one dead job back to its queue with a fresh set of attempts; False when it was not there (any more)."""
        ...

    def whereabouts(
        self, queue: str, letters: Collection[DeadLetter], *, thorough: bool = False
    ) -> Mapping[str, Whereabouts]:
        """Where the jobs of replayed letters are now, by letter id.

        Args:
            thorough: a retry may live under another id than its letter. What is found nowhere by id is looked for by
                message id: scans the queue, slow.
        """
        ...

    def purge(self, queue: str, letter_ids: Iterable[str]) -> int:
        """Delete dead jobs for good; how many were there. They count as purged."""
        ...

    def expire(self, queue: str, older_than_seconds: float) -> int:
        """Purge what died longer ago than that, by `now`; how many."""
        ...


def letter_of(
    queue: str, letter_id: str, died_at: float, data: bytes, deliveries: int | None = None
) -> DeadLetter:
    """A letter, whatever its data: kept and shown all the same, an undecodable job is somebody's job.

    Args:
        died_at: when the broker says that it died, s since the epoch.
        data: the message as it is stored.
        deliveries: how often it was handed out, where the broker itself took it for poison; else None.
    """
    death: job.Death
    try:
        message: Message[Any] = Message.decode(data)
        death = _death(job.read(message.options).get("dead", {}))
    except Exception as error:
        message = Message(queue, "?", (), {}, {}, message_id=letter_id, message_timestamp=int(died_at * 1000))
        death = {"reason": "undeliverable", "exception": type(error).__name__, "message": str(error)}
    if deliveries is not None:
        death = {"reason": "poison", "attempts": deliveries, "at": died_at}
    return DeadLetter(
        letter_id=letter_id,
        queue=queue,
        actor=_text(message.actor_name),
        message_id=_text(message.message_id),
        args=message.args,
        kwargs=message.kwargs,
        options=message.options,
        died_at=died_at,
        death=death,
    )


def _death(found: Mapping[str, Any]) -> job.Death:
    """A record of a death, of the types that it should have: anybody can write to the server."""
    texts = ("reason", "exception", "message", "traceback")
    death = {key: _text(value) for key, value in found.items() if key in texts}
    numbers = {key: found[key] for key in ("attempts", "at") if isinstance(found.get(key), (int, float))}
    return cast("job.Death", death | numbers)


def _text(value: Any) -> str:
    """What can be printed and encoded: JSON may hold half a character."""
    return str(value).encode(errors="replace").decode()
