"""Names of the ledger's counters, and the bounds of its histograms.

A field is a name, or a name and a qualifier: `offered:critical`, `dead:poison`. A histogram is a family of
fields, `wait:le:0.5` counting the observations in the bin that ends at 0.5 s, beside `wait:count`, `wait:sum`
and `wait:sumsq`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from functools import lru_cache

#: What became of first-time sends, each by criticality: `admitted:default`.
OUTCOMES = ("admitted", "deferred", "diverted", "shed", "bypassed")
OFFERED = "offered"  #: by criticality
STARTED = "started"  #: attempts that reached an actor
DONE = "done"  #: jobs finished well
FAILED = "failed"  #: attempts that raised
RETRIED = "retried"  #: attempts scheduled again
SKIPPED = "skipped"  #: jobs dropped by a middleware or a route
PURGED = "purged"  #: jobs deleted by an operator or for their age, where the broker keeps no accounts itself
DEAD = "dead"  #: jobs dead-lettered, by reason
OCCUPIED = "occupied"  #: seconds that attempts held a thread, from the first hook to the end of the ack
BREACHED = "breached"  #: attempts that missed the SLA
ERRORS = "errors"  #: failures inside LittleQ, by place; queue "" where none is known

WAIT, SERVICE, SOJOURN = "wait", "service", "sojourn"

#: Wait bins as multiples of the SLA: fine around 1, where the promise is decided.
SLA_MULTIPLES = (
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0,
)  # fmt: skip
#: Service bins in seconds, 1-2.5-5 from a millisecond to an hour.
SERVICE_BOUNDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
    600.0, 1800.0, 3600.0,
)  # fmt: skip


def qualified(field: str, qualifier: str) -> str:
    """`offered` and `critical` to `offered:critical`."""
    return f"{field}:{qualifier}"


@lru_cache(maxsize=1024)
def wait_bounds(sla_seconds: float) -> tuple[float, ...]:
    """Upper ends of the bins of a wait (or sojourn) histogram, in seconds."""
    return tuple(float(f"{sla_seconds * multiple:.6g}") for multiple in SLA_MULTIPLES)


@lru_cache(maxsize=4096)
def _bin_fields(histogram: str, bounds: tuple[float, ...]) -> tuple[str, ...]:
    return (*(f"{histogram}:le:{bound:g}" for bound in bounds), f"{histogram}:le:+Inf")


def bin_field(histogram: str, bounds: tuple[float, ...], value: float) -> str:
    """The field that counts an observation of `value`.

    >>> bin_field("wait", (0.5, 1.0), 0.7), bin_field("wait", (0.5, 1.0), 1.0), bin_field("wait", (0.5,), 9)
    ('wait:le:1', 'wait:le:1', 'wait:le:+Inf')
    """
    return _bin_fields(histogram, bounds)[bisect_left(bounds, value)]


@lru_cache(maxsize=64)
def _moment_fields(histogram: str) -> tuple[str, str, str]:
    return f"{histogram}:count", f"{histogram}:sum", f"{histogram}:sumsq"


def observation(histogram: str, bounds: tuple[float, ...], value: float) -> tuple[tuple[str, float], ...]:
    """What to add for one observation: count, sum, sum of squares and the bin.

    Args:
        histogram: `WAIT`, `SERVICE` or `SOJOURN`.
        bounds: upper ends of its bins, ascending.
        value: in seconds; a negative one (two hosts' clocks) counts as 0.

    >>> observation("wait", (0.5, 1.0), 0.7)
    (('wait:count', 1), ('wait:sum', 0.7), ('wait:sumsq', 0.48999999999999994), ('wait:le:1', 1))
    """
    if value < 0:
        value = 0.0
    count, total_, squares = _moment_fields(histogram)
    return (count, 1), (total_, value), (squares, value * value), (bin_field(histogram, bounds, value), 1)


def total(counts: Mapping[str, float], field: str) -> float:
    """A counter over all its qualifiers.

    >>> total({"offered:critical": 2, "offered:default": 3, "offered": 1, "done": 9}, OFFERED)
    6.0
    """
    prefix = f"{field}:"
    return float(sum(count for name, count in counts.items() if name == field or name.startswith(prefix)))
