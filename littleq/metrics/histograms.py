"""The ledger's bins as a histogram that Prometheus accepts."""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import accumulate

from littleq.ledger.base import Counts


def bins(counts: Counts, histogram: str, bounds: tuple[float, ...]) -> tuple[float, ...]:
    """Observations in each bin of `bounds`, and beyond the last one.

    The ledger may hold bins of other bounds, since those of a wait follow the SLA and the SLA may have
    changed. They are folded into the next bin above, which an observation of theirs cannot exceed, so the set
    of buckets is always the current one and no count is lost.

    >>> bins({"wait:le:0.5": 2, "wait:le:0.9": 1, "wait:le:+Inf": 4, "done": 9}, "wait", (0.5, 1.0))
    (2.0, 1.0, 4.0)
    """
    found = [0.0] * (len(bounds) + 1)
    prefix = f"{histogram}:le:"
    for name, count in counts.items():
        if not name.startswith(prefix):
            continue
        try:
            upper = float(name.removeprefix(prefix))
        except ValueError:  # not a bin of ours
            continue
        if not math.isnan(upper):
            found[bisect_left(bounds, upper)] += count
    return tuple(found)


def cumulative(counts: Counts, histogram: str, bounds: tuple[float, ...]) -> list[tuple[float, float]]:
    """(upper end, observations up to it) for each bucket; the last is +Inf and holds all.

    >>> cumulative({"wait:le:0.5": 2, "wait:le:+Inf": 4}, "wait", (0.5, 1.0))
    [(0.5, 2.0), (1.0, 2.0), (inf, 6.0)]
    """
    return list(zip((*bounds, math.inf), accumulate(bins(counts, histogram, bounds)), strict=True))
