"""One look at broker and ledger for all streams and calls of a scaler.

While some watched queue is idle its depth is read ten times a second, one round trip for all queues: that is what
makes the push quick. While all have work, once a second. Decisions are read once a second at most: they change every
few seconds.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from littleq.backends import backend_for, build_broker
from littleq.clock import SYSTEM_CLOCK, Clock
from littleq.ledger import open_ledger
from littleq.ledger.decisions import Published, read_decisions, stale_after
from littleq.metrics.sources import Source, SourceError

if TYPE_CHECKING:
    from littleq.backends.base import Inspector
    from littleq.config import Config
    from littleq.ledger import Ledger

#: Between two looks while a watched queue is idle, and while none is, in seconds. A push is promised within 0.2 s.
IDLE_SECONDS, BUSY_SECONDS = 0.1, 1.0
#: What a call may answer from an earlier look, and how long decisions are kept, in seconds.
FRESH_SECONDS, DECISIONS_SECONDS = 0.5, 1.0


@dataclass(frozen=True, slots=True)
class Sight:
    """A queue at one look.

    Attributes:
        depth: jobs that wait or run; None: the broker does not answer.
        decision: the last one; None: there is none, or the ledger does not answer.
        age_seconds: how old the decision is.
        ledger: whether the ledger answered.
        known: somebody has decided about the queue, or the configuration names it.
    """

    depth: int | None
    decision: Published | None
    age_seconds: float = 0.0
    ledger: bool = True
    known: bool = True

    @property
    def desired_workers(self) -> int | None:
        """None: no decision that may be acted on."""
        decision = self.decision
        if decision is None or self.age_seconds > stale_after(decision.settings.interval_seconds):
            return None
        return decision.desired_workers

    @property
    def is_active(self) -> bool | None:
        """Whether the queue needs a worker; None: nobody can tell.

        A job that waits or runs says yes whatever was decided, and before anybody could decide. To say no takes a
        decision that is not stale and a queue that was seen empty: neither a controller nor a broker that is gone
        must send the last worker away.
        """
        desired = self.desired_workers
        if self.depth or desired:
            return True
        return None if desired is None or self.depth is None else False


class Lookout:
    """Reads both servers. Never raises: what does not answer is not known.

    Args:
        known: queues of the configuration.
    """

    def __init__(
        self,
        broker: Source[Inspector],
        ledger: Source[Ledger],
        known: Collection[str],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._broker, self._ledger, self._known, self._clock = broker, ledger, frozenset(known), clock
        self._decisions: Mapping[str, Published] = {}
        self._asked_at = self._read_at = float("-inf")
        self._answers = False

    def look(self, queues: Collection[str]) -> dict[str, Sight]:
        """Each of the queues. Called by one thread at a time."""
        depths: Mapping[str, int] = {}
        with suppress(SourceError):
            depths = self._broker.read(lambda inspector: inspector.depths(sorted(queues)))
        if self._clock.monotonic() - self._asked_at >= DECISIONS_SECONDS:
            self._read_decisions()
            self._asked_at = self._clock.monotonic()
        waited = self._clock.monotonic() - self._read_at
        return {queue: self._sight(queue, depths.get(queue), waited) for queue in queues}

    def _read_decisions(self) -> None:
        try:
            self._decisions = self._ledger.read(read_decisions)
        except SourceError:
            self._answers = False  # the old ones grow old
        else:
            self._answers, self._read_at = True, self._clock.monotonic()

    def _sight(self, queue: str, depth: int | None, waited: float) -> Sight:
        decision = self._decisions.get(queue)
        return Sight(
            depth,
            decision,
            0.0 if decision is None else decision.age_seconds + waited,
            ledger=self._answers,
            known=decision is not None or queue in self._known or bool(depth),
        )


def lookout_for(config: Config) -> Lookout:
    """One for the configured broker and ledger, which are opened at the first look."""
    return Lookout(
        Source("broker", lambda: backend_for(build_broker(config)).inspector),
        Source("ledger", lambda: open_ledger(config), seconds=1.0),  # must not hold up the depths for long
        config.queues,
    )


class Watch:
    """Tells each stream of its queue's state, and answers calls. Lives in one event loop; `run` is its task."""

    def __init__(self, lookout: Lookout, clock: Clock = SYSTEM_CLOCK) -> None:
        self._lookout, self._clock = lookout, clock
        self._listeners: Counter[str] = Counter()
        self._sights: dict[str, tuple[float, Sight]] = {}
        self._looking = asyncio.Lock()
        self._looked = asyncio.Condition()
        self._hurry: Final = asyncio.Event()
        self._closed = False

    async def sight(self, queue: str) -> Sight:
        """The queue as it was half a second ago at the most."""
        if self._is_old(queue):
            async with self._looking:
                if self._is_old(queue):  # nobody has looked while we waited
                    await self._look({queue})
        return self._sights[queue][1]

    async def states(self, queue: str) -> AsyncIterator[bool]:
        """Whether the queue needs a worker: what it is now, then each change. While nobody can tell, nothing."""
        if self._is_old(queue):
            self._sights.pop(queue, None)  # of a time when nobody listened
        self._listeners[queue] += 1
        self._hurry.set()
        told: bool | None = None

        def has_news() -> bool:
            return self._closed or self._state(queue) not in (None, told)

        try:
            while True:
                async with self._looked:
                    await self._looked.wait_for(has_news)
                if self._closed:
                    return
                told = self._state(queue) is True
                yield told
        finally:
            self._listeners[queue] -= 1
            self._listeners += Counter()  # without those that nobody listens to

    async def close(self) -> None:
        """End all streams, in good order: KEDA opens them again in 2 s, and after errors ever later, up to a minute."""
        self._closed = True
        async with self._looked:
            self._looked.notify_all()

    async def run(self) -> None:
        """Look for as long as somebody listens. Cancel it to end."""
        while True:
            if not self._listeners:
                await self._hurry.wait()
            self._hurry.clear()
            async with self._looking:
                await self._look(set(self._listeners))
            async with self._looked:
                self._looked.notify_all()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), self._pause())

    def _pause(self) -> float:
        """Quick while a queue is seen idle. One whose broker does not answer has no news for a while."""
        sights = [self._sights[queue][1] for queue in self._listeners if queue in self._sights]
        idle = any(not sight.is_active and sight.depth is not None for sight in sights)
        return IDLE_SECONDS if idle else BUSY_SECONDS

    def _state(self, queue: str) -> bool | None:
        seen = self._sights.get(queue)
        return None if seen is None else seen[1].is_active

    def _is_old(self, queue: str) -> bool:
        looked_at, _ = self._sights.get(queue, (float("-inf"), None))
        return self._clock.monotonic() - looked_at > FRESH_SECONDS

    async def _look(self, queues: set[str]) -> None:
        if queues:
            began = self._clock.monotonic()
            found = await asyncio.to_thread(self._lookout.look, queues)
            # Names come from outside: only what is known, or was asked just now, is kept.
            kept = {name: seen for name, seen in self._sights.items() if seen[1].known and name not in found}
            self._sights = kept | {name: (began, sight) for name, sight in found.items()}
