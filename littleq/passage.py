"""Why a message passes `broker.enqueue` right now.

Dramatiq has one door for four errands: a first send, a retry, a delayed job that is due, and what follows
from a job (the next link of a pipeline, a callback). Only the first may be refused, and the next two take
the place of a job that a worker holds. The errand is kept in context variables, which are local to a
thread, a greenlet and a task.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from dramatiq import Message
    from dramatiq.broker import MessageProxy

Errand = Literal["send", "retry", "promotion"]


class QueueFull(Exception):
    """A broker that holds the bound of a queue itself did not take a message in. For the gate: no user sees it.

    Attributes:
        depth: jobs in the queue at that moment.
    """

    def __init__(self, queue: str, depth: int) -> None:
        super().__init__(f"queue {queue!r} holds {depth} jobs")
        self.queue = queue
        self.depth = depth


@dataclass(slots=True)
class Bound:
    """What a broker that holds the bound itself must know of a first send, and what it answers.

    Attributes:
        jobs: most jobs that the queue may hold with this one.
        overflow_delay: ms by which the job is delayed if there is no room; None: it is refused, by `QueueFull`.
        overflowed: set by the broker.
    """

    jobs: int
    overflow_delay: int | None = None
    overflowed: bool = False


@dataclass(frozen=True, slots=True)
class Passage:
    """One call of `enqueue`.

    Attributes:
        errand: what brings the message here.
        held: the message whose place it takes, as a worker holds it; None for a send.
        bound: of a send to a broker that holds it itself; None: let in whatever the queue holds.
    """

    errand: Errand
    held: Message[Any] | MessageProxy | None = None
    bound: Bound | None = None


SEND = Passage("send")

current: ContextVar[Passage] = ContextVar("littleq_passage", default=SEND)

#: Set while Dramatiq runs `after_*` hooks: it swallows what they raise, so a send refused there would be lost.
in_after_hook: ContextVar[bool] = ContextVar("littleq_in_after_hook", default=False)
#: Set while Dramatiq runs the `after_process_message` hooks: what is sent there follows from a job that is acked next.
after_job: ContextVar[bool] = ContextVar("littleq_after_job", default=False)


@contextmanager
def on(errand: Passage) -> Iterator[None]:
    """What is enqueued in here passes on `errand`."""
    token = current.set(errand)
    try:
        yield
    finally:
        current.reset(token)


def rescheduling(message: MessageProxy) -> AbstractContextManager[None]:
    """In here an `enqueue` of `message`, which this worker holds, is its retry."""
    return on(Passage("retry", message))


@contextmanager
def unrefusable() -> Iterator[None]:
    """What is sent in here is let in: nobody could be told that it was refused."""
    token = in_after_hook.set(True)
    try:
        yield
    finally:
        in_after_hook.reset(token)


def is_refusable() -> bool:
    """Whether an exception raised by `enqueue` would reach the sender."""
    return not in_after_hook.get()
