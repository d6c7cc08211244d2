"""Delays of any length from queues that expire: where a delayed job waits, and for how long.

A queue of RabbitMQ's drops (or passes on) what has been in it for its time to live, and looks at its head only. So each
queue here holds jobs for one time: rung k for 2^k grains. A delay is written in binary and takes one rung for each bit
that is set, the longest first; the bits are the routing key, and each rung passes on to a topic exchange that looks at
the bit below:

    publish ──> rung 5 ──expires──> exchange 4 ─bit 4 is 1─> rung 4 ──expires──> exchange 3 ─0─> … ─> exchange 0 ─> q
                                        └─bit 4 is 0─> exchange 3 ─> …

All of it happens on the server, with no worker alive; where it can, a rung keeps a job until the next one has confirmed
it. A delay that is longer than the whole ladder (38 days) comes out too early, and whoever takes it sends it up again.
"""

from __future__ import annotations

import math

#: The shortest rung, in milliseconds: delays are rounded up to it. Half of it would cost one hop more a job.
GRAIN_MS = 25
#: How many rungs: the longest is 19 days, safely below what the server takes as a time to live (49 days).
RUNGS = 27


def lifetime_ms(rung: int) -> int:
    """For how long a rung holds a job."""
    return GRAIN_MS << rung


def climb(delay_ms: float) -> tuple[int, str]:
    """The rung on which a job begins to wait, and its routing key, the lowest bit first.

    >>> rung, key = climb(130)  # 6 grains: 4 + 2
    >>> rung, key[:9]
    (2, '0.1.1.0.0')
    >>> climb(10**12)[0]
    26
    """
    grains = min(max(1, math.ceil(delay_ms / GRAIN_MS)), (1 << RUNGS) - 1)
    return grains.bit_length() - 1, ".".join(str(grains >> bit & 1) for bit in range(RUNGS))


def pattern(rung: int, bit: int) -> str:
    """The routing keys that pass a rung's exchange to the rung (bit 1) or past it (0).

    >>> pattern(0, 1), pattern(2, 0)
    ('1.#', '*.*.0.#')
    """
    return "*." * rung + f"{bit}.#"


def share_due(rung: int, within_ms: float) -> float:
    """What share of the jobs on a rung is due within a time, [0, 1].

    What is left of a job's delay there is anything up to the time of the rung and all below it: taken as uniform.

    >>> share_due(3, 400), share_due(3, 100)
    (1.0, 0.25)
    """
    return min(1.0, max(0.0, within_ms / (2 * lifetime_ms(rung))))
