"""The measurements: each takes the server and a size, and gives an `Outcome`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        rounds: of a comparison; each gives one ratio.
        turns: of each subject in one round.
        others_rounds: turns of each subject in the comparison with other task queues.
        jobs: in one turn of processing.
        pickups, due_jobs: samples of a delay, of the stack; of plain, whose delays are long, a fifth.
        delay_turns: that the samples are spread over.
        kills, host_kills: of a worker that holds jobs; of one with all that it started.
        queued: jobs while their memory and their load on the server are measured.
        lengths: of the queue at which scripts are timed.
    """

    rounds: int = 7
    turns: int = 2
    others_rounds: int = 3
    jobs: int = 4000
    pickups: int = 500
    due_jobs: int = 300
    delay_turns: int = 5
    kills: int = 5
    host_kills: int = 2
    queued: int = 10_000
    lengths: Sequence[int] = (100, 1_000, 10_000, 100_000, 1_000_000)


QUICK = Size(
    rounds=3,
    turns=1,
    others_rounds=1,
    jobs=2000,
    pickups=100,
    due_jobs=60,
    delay_turns=2,
    kills=2,
    host_kills=0,
    queued=3000,
    lengths=(100, 1_000, 10_000),
)


def in_turns(names: Sequence[str], turns: int, first: int = 0) -> Iterator[str]:
    """A B C, C B A, A B C …: the speed of a shared machine drifts, and so all have the same share of it."""
    for turn in range(turns):
        yield from names if (turn + first) % 2 == 0 else reversed(names)
