"""Canaries: the first few replayed letters, watched before the rest follows.

A canary is done when its job is nowhere any more: not ready, not held, not delayed, and not dead again. A retry
may go by another id than its letter, so before the verdict the queue is searched once for the messages themselves.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from littleq.cli.letters import cause
from littleq.cli.show import counted, seconds
from littleq.dead_letters import fingerprint

if TYPE_CHECKING:
    from littleq.backends.letters import DeadLetter, DeadLetterStore, Whereabouts

#: Pause between two looks, in seconds.
LOOK_SECONDS = 0.25
#: Share of the time that searching a queue may take: after a search that found a canary, the next one waits.
SEARCH_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the canaries; all lists empty: they are done.

    Attributes:
        died: the letters of those that are dead again.
        unfinished: where the others are that are not done, when the patience is over.
    """

    died: Sequence[DeadLetter] = ()
    unfinished: Sequence[Whereabouts] = ()

    @property
    def is_good(self) -> bool:
        return not self.died and not self.unfinished

    def sentence(self, canaries: int, patience: float) -> str:
        """Why the replay stops."""
        if self.died:
            letter = self.died[0]
            others = f" ({len(self.died)} of {canaries} canaries are)" if len(self.died) > 1 else ""
            return (
                f"The canary {letter.letter_id} is dead again{others}: {cause(letter)}, "
                f"fingerprint {fingerprint(letter).key}. The other letters stay dead."
            )
        places = Counter(self.unfinished)
        where = ", ".join(f"{jobs:,} {place}" for place, jobs in sorted(places.items()))
        return (
            f"{len(self.unfinished)} of {counted(canaries, 'canary', 'canaries')} "
            f"{'is' if len(self.unfinished) == 1 else 'are'} not done after {seconds(patience)} ({where}). "
            "The other letters stay dead: look why, or give a longer --patience."
        )


@dataclass
class CanaryWatch:
    """Watches replayed letters.

    Args:
        since: a moment before they were replayed, by `store.now`.
    """

    store: DeadLetterStore
    canaries: Sequence[DeadLetter]
    since: float
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _search_at: float = 0.0
    _read_to: dict[str, float] = field(default_factory=dict)

    def verdict(self, patience: float) -> Verdict:
        """Wait until all are done or one is dead again, `patience` seconds at most."""
        deadline = self.monotonic() + patience
        while True:
            # In this order: what is in no queue now and has died meanwhile is among the letters afterwards.
            unfinished = self._unfinished()
            died = self._died()
            if died:
                return Verdict(died=died)
            if not unfinished:
                return Verdict()
            if self.monotonic() >= deadline:
                return Verdict(unfinished=unfinished)
            self.sleep(min(LOOK_SECONDS, max(0.0, deadline - self.monotonic())))

    def _unfinished(self) -> list[Whereabouts]:
        found = self._look(thorough=False)
        if found or self.monotonic() < self._search_at:
            return found or ["queued"]
        began = self.monotonic()
        found = self._look(thorough=True)
        took = self.monotonic() - began
        self._search_at = began + took / SEARCH_SHARE
        return found

    def _look(self, *, thorough: bool) -> list[Whereabouts]:
        return [
            place
            for queue, letters in _by_queue(self.canaries)
            for place in self.store.whereabouts(queue, letters, thorough=thorough).values()
            if place != "gone"
        ]

    def _died(self) -> list[DeadLetter]:
        return [
            letter for queue, letters in _by_queue(self.canaries) for letter in self._died_in(queue, letters)
        ]

    def _died_in(self, queue: str, canaries: Sequence[DeadLetter]) -> list[DeadLetter]:
        """Read on from the last death that was read: on a busy queue there are many more than canaries."""
        names = {letter.message_id for letter in canaries}
        found = []
        for letter in self.store.letters(queue, since=self._read_to.get(queue, self.since)):
            self._read_to[queue] = letter.died_at
            if letter.message_id in names:
                found.append(letter)
        return found


def _by_queue(letters: Sequence[DeadLetter]) -> list[tuple[str, list[DeadLetter]]]:
    ordered = sorted(letters, key=lambda letter: letter.queue)
    return [(queue, list(found)) for queue, found in groupby(ordered, key=lambda letter: letter.queue)]
