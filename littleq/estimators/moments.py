"""Rates, means and quantiles of counts. Pure: numbers in, a number out, None where nothing is known.

The inputs are differences of monotonic counters over a window (or since ever), as in `littleq.ledger`:
counts, sums, sums of squares, and observations by bin.
"""

from __future__ import annotations

from collections.abc import Iterable

from littleq.errors import ValidationError


def rate(count: float, seconds: float) -> float | None:
    """Events per second.

    Args:
        count: events in the window, >= 0.
        seconds: width of the window; None comes back where it is not above 0.

    >>> rate(30, 12.0), rate(0, 12.0), rate(0, 0.0)
    (2.5, 0.0, None)
    """
    return count / seconds if seconds > 0 else None


def mean(total: float, count: float) -> float | None:
    """Mean of `count` observations that sum up to `total`; None where there are none.

    >>> mean(3.0, 4), mean(0.0, 0)
    (0.75, None)
    """
    return total / count if count > 0 else None


def scv(count: float, total: float, total_of_squares: float) -> float | None:
    """Squared coefficient of variation, variance / mean²: 0 of a constant, 1 of an exponential.

    Args:
        count: number of observations; fewer than 2 tell nothing about variability.
        total: their sum; a mean of 0 has no such coefficient.
        total_of_squares: the sum of their squares.

    Returns:
        The coefficient, >= 0, or None. Of near equal observations the two sums differ by rounding only; the
        difference is clamped, never negative. The variance is the population's (divided by n): for the n of a
        busy minute the difference to n − 1 is nothing.

    >>> scv(4, 8.0, 16.0), scv(2, 4.0, 10.0), scv(1, 2.0, 4.0), scv(3, 0.3, 0.03)
    (0.0, 0.25, None, 0.0)
    """
    if count < 2 or total <= 0:
        return None
    average = total / count
    excess = total_of_squares / count / average**2 - 1.0
    # Below this the value is rounding: each of the three sums carries a relative error of a few times 2⁻⁵²
    # per addition.
    return excess if excess > 1e-9 else 0.0


def histogram_quantile(bins: Iterable[tuple[float, float]], q: float) -> float | None:
    """The q-quantile of a histogram, interpolated within its bin.

    Args:
        bins: (upper end, observations in this bin alone, not below it), in any order; the last may end at
            infinity. q: share of observations at or below the answer, [0, 1].

    Returns:
        The estimate, or None where nothing was observed. Observations are taken as spread evenly over their
        bin; the first one begins at 0 (at its own upper end if that is not above 0). A quantile in the bin
        that ends at infinity is given as the highest finite end: it is at least that. With no finite end,
        infinity.

    Raises:
        ValidationError: q is outside [0, 1].

    Source: `histogram_quantile` of Prometheus (promql/quantile.go, bucketQuantile), whose buckets are
    cumulative.

    >>> histogram_quantile([(1.0, 5), (2.0, 5)], 0.75)
    1.5
    >>> histogram_quantile([(1.0, 5), (float("inf"), 5)], 0.99)
    1.0
    """
    if not 0.0 <= q <= 1.0:
        raise ValidationError(f"q is {q}: give a share in [0, 1], such as 0.99 for the 99th percentile.")
    ordered = sorted(bins)
    rank = q * sum(count for _, count in ordered if count > 0)
    lower, below, answer = None, 0.0, None
    for upper, count in ordered:
        if count > 0:
            answer = _interpolated(lower, upper, (rank - below) / count)
            below += count
            if below >= rank:
                break
        lower = upper
    return answer


def _interpolated(lower: float | None, upper: float, share: float) -> float:
    """The point `share` of the way through a bin; `lower` is None for the first one."""
    if upper == float("inf"):
        return upper if lower is None else lower
    if lower is None:
        lower = min(upper, 0.0)
    point = lower + (upper - lower) * min(share, 1.0)
    return min(upper, point)  # rounding may lead beyond the end of the bin
