"""Servers for a steady rate, so that few jobs wait too long: Erlang's answer, remembered, since it is asked often."""

from __future__ import annotations

import math
from functools import lru_cache

from littleq import law
from littleq.errors import ValidationError

#: Loads are rounded up to this share of an erlang or of themselves: below what any forecast can tell.
_GRAIN = 0.02


def servers_for(
    arrival_rate: float, service_time: float, service_scv: float, patience: float, percentile: float
) -> int:
    """The fewest servers with P(Wq > patience) <= 1 - percentile in the long run; 0 where nothing comes.

    Args:
        arrival_rate: λ, >= 0.
        service_time: S in seconds, > 0.
        service_scv: its variability, >= 0.
        patience: longest wait in seconds; > 0.
        percentile: in percent, [1, 100).

    Returns:
        As `law.servers_for_tail`, whose approximation holds, for a load that is rounded up by 2 % at most.

    >>> servers_for(10.0, 0.5, 1.0, 1.0, 99.0), servers_for(0.0, 0.5, 1.0, 1.0, 99.0)
    (7, 0)
    """
    load = arrival_rate * service_time
    if load <= 1e-6:
        return 0
    grain = _GRAIN * max(1.0, 2.0 ** math.floor(math.log2(load)))
    return _servers(
        round(math.ceil(load / grain - 1e-9) * grain, 6),
        float(f"{patience / service_time:.2g}"),
        min(round(service_scv, 1), 100.0),
        percentile,
    )


@lru_cache(maxsize=65536)
def _servers(load: float, services: float, scv: float, percentile: float) -> int:
    """For services of one second: only the ratio of patience and service time matters."""
    try:
        return law.servers_for_tail(load, 1.0, max(services, 1e-6), percentile, service_scv=scv)
    except ValidationError:  # more than any fleet has, a wrong unit most likely: the user's maximum decides
        return law.MAX_SERVERS
