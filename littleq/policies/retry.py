"""When a failed job is tried again, if at all.

The base value grows exponentially, the jitter spreads it: a thousand jobs that failed together must not come back
together (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

    full          uniform(0, base)              spreads best
    equal         base/2 + uniform(0, base/2)   keeps at least half of the wait
    decorrelated  uniform(min, 3 × last wait)   forgets the attempt number, follows the last wait
    dramatiq      uniform(base, 2 × base)       what Dramatiq itself does; kept for queues that are not configured

A retry budget keeps a failing dependency from being hit harder than a healthy one: retries beyond the budgeted share of
first attempts wait longer, in proportion; none is dropped.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from littleq.errors import ValidationError

Jitter = Literal["full", "equal", "decorrelated", "dramatiq"]
Route = Literal["retry", "dead", "skip"]

#: 2**60 s is beyond any bound; a larger exponent only risks an overflow.
MAX_EXPONENT = 60
#: Longest a retry budget stretches a backoff: an order of magnitude, somewhat arbitrary.
MAX_STRETCH = 10.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before an attempt; bounds in seconds, 0 <= minimum <= maximum."""

    minimum: float
    maximum: float
    jitter: Jitter = "full"

    def __post_init__(self) -> None:
        if not 0 <= self.minimum <= self.maximum:
            raise ValidationError(
                f"backoff bounds are {self.minimum:g} s and {self.maximum:g} s: give 0 <= minimum <= maximum."
            )
        if self.jitter not in get_args(Jitter):
            raise ValidationError(f"jitter is {self.jitter!r}: choose {', '.join(get_args(Jitter))}.")

    def base(self, retries: int) -> float:
        """Wait before jitter after `retries` retries: minimum × 2^retries, at most the maximum.

        >>> [Backoff(1, 10).base(n) for n in range(5)]
        [1.0, 2.0, 4.0, 8.0, 10]
        """
        return min(self.maximum, self.minimum * 2.0 ** min(retries, MAX_EXPONENT))

    def wait(self, retries: int, last_wait: float | None, rng: random.Random) -> float:
        """Wait with jitter, in seconds, within [0, maximum].

        Args:
            retries: retries so far, >= 0.
            last_wait: what the job waited before this attempt; None for the first (decorrelated only).
            rng: the source of chance.
        """
        base = self.base(retries)
        if self.jitter == "full":
            return rng.uniform(0.0, base)
        if self.jitter == "equal":
            return base / 2 + rng.uniform(0.0, base / 2)
        if self.jitter == "dramatiq":
            longer = base * rng.uniform(1.0, 2.0)
            return longer if longer <= self.maximum else self.maximum * rng.uniform(0.5, 1.0)
        return min(
            self.maximum, rng.uniform(self.minimum, max(self.minimum, 3 * (last_wait or self.minimum)))
        )


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """`route` "retry" with its `wait`, or "dead" or "skip"; `reason` is a key of `littleq.job.Death`."""

    route: Route
    wait: float
    reason: str


def decide(
    backoff: Backoff,
    *,
    retries: int,
    max_retries: int | None,
    route: Route,
    last_wait: float | None,
    rng: random.Random,
) -> RetryDecision:
    """What becomes of a job whose attempt failed.

    Args:
        backoff: bounds and jitter.
        retries: retries so far; the failed attempt was number `retries` + 1.
        max_retries: most retries; None: no bound.
        route: where the exception is routed.
        last_wait: seconds waited before this attempt, if any.
        rng: the source of chance.
    """
    if route == "skip":
        return RetryDecision("skip", 0.0, "routed to skip")
    if route == "dead":
        return RetryDecision("dead", 0.0, "refused")
    if max_retries is not None and retries >= max_retries:
        return RetryDecision("dead", 0.0, "exhausted")
    return RetryDecision("retry", backoff.wait(retries, last_wait, rng), "retry")


def route_for(exception: BaseException, routes: Mapping[str, Route] | Iterable[tuple[str, Route]]) -> Route:
    """Where an exception goes: the route of the nearest class in its order of inheritance.

    A route names a class by its name or its full path.

    >>> route_for(ConnectionResetError(), {"OSError": "dead", "ConnectionError": "retry"})
    'retry'
    >>> route_for(KeyError(), {"builtins.LookupError": "skip"}), route_for(KeyError(), {})
    ('skip', 'retry')
    """
    table = dict(routes)
    if table:
        for cls in type(exception).__mro__:
            found = table.get(f"{cls.__module__}.{cls.__qualname__}") or table.get(cls.__name__)
            if found is not None:
                return found
    return "retry"


class RetryBudget:
    """Retries against first attempts of the last minute or two, in one process.

    `stretch` says by how much a backoff grows: 1 within the budget, up to `MAX_STRETCH` beyond it. Counts
    are kept in two windows, the running one and the one before. Not locked: a count that two threads lose
    to each other changes nothing.

    >>> budget = RetryBudget(ratio=0.1)
    >>> for _ in range(100): budget.first_attempt(now=0.0)
    >>> [round(budget.stretch(now=0.0), 1) for _ in range(20)][::10], round(budget.stretch(now=0.0), 1)
    ([1.0, 1.0], 1.1)
    """

    #: A handful of retries is always free: a quiet queue has no first attempts to earn them with.
    FREE_RETRIES = 10.0
    WINDOW_SECONDS = 60.0

    def __init__(self, ratio: float) -> None:
        self.ratio = ratio
        self._window_ends = float("-inf")
        self._first = self._first_before = 0
        self._retries = self._retries_before = 0

    def first_attempt(self, now: float) -> None:
        """Count a first attempt that was started, at a monotonic `now`."""
        if now >= self._window_ends:
            self._turn(now)
        self._first += 1

    def stretch(self, now: float) -> float:
        """Count a retry and say by what factor its wait grows, in [1, MAX_STRETCH]."""
        if now >= self._window_ends:
            self._turn(now)
        self._retries += 1
        allowed = self.FREE_RETRIES + self.ratio * (self._first + self._first_before)
        return min(MAX_STRETCH, max(1.0, (self._retries + self._retries_before) / allowed))

    def _turn(self, now: float) -> None:
        is_next = now < self._window_ends + self.WINDOW_SECONDS
        self._first_before, self._retries_before = (self._first, self._retries) if is_next else (0, 0)
        self._first = self._retries = 0
        self._window_ends = now + self.WINDOW_SECONDS
