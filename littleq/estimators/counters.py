"""How much a monotonic counter grew between two readings."""

from __future__ import annotations


def increase(before: float | None, now: float | None) -> float | None:
    """Events between two readings of a counter; None where one of them is missing.

    A counter that fell was reset (its server lost its data, or a process began anew) and has counted from 0 since,
    as Prometheus takes it.

    >>> increase(10, 25), increase(10, 4), increase(None, 4)
    (15.0, 4.0, None)
    """
    if before is None or now is None:
        return None
    return float(now - before if now >= before else now)
