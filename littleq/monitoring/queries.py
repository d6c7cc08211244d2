"""PromQL that holds with one exporter or several, for any name of a queue."""

from __future__ import annotations

import math
from typing import Final

from littleq.errors import ValidationError
from littleq.metrics import names

#: The gauges that a scaler may follow: the decision, and the same rounded up for an HPA with a tolerance.
GAUGES: Final = (names.DESIRED_WORKERS.name, names.DESIRED_WORKERS_STEPPED.name)


def quoted(text: str) -> str:
    r"""A string literal of PromQL.

    >>> print(quoted('a"b'))
    "a\"b"
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def selector(metric: str, *matchers: str) -> str:
    """A metric with the matchers that are not empty.

    >>> selector("sla_up", 'source="ledger"', "")
    'sla_up{source="ledger"}'
    >>> selector("sla_up")
    'sla_up'
    """
    inside = ",".join(each for each in (part.strip().strip(",") for part in matchers) if each)
    return f"{metric}{{{inside}}}" if inside else metric


def desired_workers_query(
    queue: str,
    *,
    gauge: str = names.DESIRED_WORKERS.name,
    matchers: str = "",
    stale_seconds: float = 60.0,
) -> str:
    """What a ScaledObject or an HPA's adapter asks Prometheus: the decision, while it is new enough to act on.

    One number with however many exporters; nothing at all once the decision is older than `stale_seconds`, or
    when no exporter is left. The exporter leaves the decision out as soon as it is stale by the ledger's clock;
    the guard is for an exporter that shows an old page. It compares the ledger's clock with Prometheus', so
    leave it well above their difference.

    Args:
        queue: its name, as Dramatiq knows it.
        gauge: `sla_desired_workers`, or `sla_desired_workers_stepped` where the HPA's tolerance is not 0.
        matchers: more label matchers, as in `namespace="shop"`, where one Prometheus watches several fleets.
        stale_seconds: greatest age of a decision to act on; > 0.

    Raises:
        ValidationError: another gauge, or no such age.

    >>> print(desired_workers_query("realtime"))
    max(sla_desired_workers{queue="realtime"}) and on() \
(time() - max(sla_decision_timestamp_seconds{queue="realtime"}) < 60)
    """
    if gauge not in GAUGES:
        raise ValidationError(
            f"No gauge {gauge!r} tells how many workers are wanted: use {' or '.join(GAUGES)}."
        )
    if not (math.isfinite(stale_seconds) and stale_seconds > 0):
        raise ValidationError(f"stale_seconds must be above 0, not {stale_seconds!r}.")
    only = f"queue={quoted(queue)}"
    wanted = selector(gauge, only, matchers)
    decided = selector(names.DECISION_TIMESTAMP.name, only, matchers)
    return f"max({wanted}) and on() (time() - max({decided}) < {stale_seconds:g})"
