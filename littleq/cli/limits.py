"""How long the jobs of an app may take, from its actors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from littleq.manifests.settings import DRAMATIQ_TIME_LIMIT_SECONDS, TimeLimit

if TYPE_CHECKING:
    from dramatiq import Broker


def time_limits(broker: Broker) -> Mapping[str, TimeLimit]:
    """The longest time limit of each queue's actors.

    A message may have a limit of its own, which nobody knows before it is sent. An actor without any, or without an
    end to it, counts with Dramatiq's default: what runs longer is handed back when its worker stops.
    """
    from dramatiq.middleware import TimeLimit as Middleware

    default = next((each.time_limit for each in broker.middleware if isinstance(each, Middleware)), None)
    found: dict[str, TimeLimit] = {}
    for name, actor in sorted(broker.actors.items()):
        limit = _limit(name, actor.options.get("time_limit"), default)
        before = found.get(actor.queue_name)
        if before is None or limit.seconds > before.seconds:
            found[actor.queue_name] = limit
    return found


def _limit(name: str, own: Any, default: Any) -> TimeLimit:
    milliseconds = default if own is None else own
    if milliseconds is None or not 0 < milliseconds < math.inf:
        return TimeLimit(
            DRAMATIQ_TIME_LIMIT_SECONDS, f"Dramatiq's default time limit, for actor {name} has none that ends"
        )
    source = f"time limit of actor {name}" if own is not None else "the app's default time limit"
    if own is None and milliseconds == DRAMATIQ_TIME_LIMIT_SECONDS * 1000:
        source = "Dramatiq's default time limit"
    return TimeLimit(milliseconds / 1000, source)
