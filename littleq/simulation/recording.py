"""A user's own history as a trace: counted live from the ledger, or asked of a Prometheus."""

from __future__ import annotations

import base64
import json
import math
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from littleq.clock import SYSTEM_CLOCK, Clock
from littleq.ledger.base import Ledger, LedgerUnavailable
from littleq.ledger.fields import OFFERED, total
from littleq.metrics import names
from littleq.redaction import redact_url
from littleq.simulation.arrivals import Trace
from littleq.simulation.traces import TraceError

#: A range query gives at most 11,000 points; longer histories are asked for in pieces.
MOST_POINTS = 10_000
#: How long Prometheus may take for one piece, in seconds.
TIMEOUT_SECONDS = 60.0


def record_ledger(
    ledger: Ledger,
    queue: str,
    *,
    duration: float,
    step: float,
    clock: Clock = SYSTEM_CLOCK,
    sleep: Callable[[float], None] = time.sleep,
) -> Trace:
    """Count first-time sends to a queue, bin by bin, for `duration` seconds or until Ctrl-C.

    Processes report once a second, so an arrival may be counted that much late. While the ledger cannot be read
    nothing is known: what came meanwhile is spread evenly over those bins.

    Args:
        queue: its name; one that nobody has sent to yet is waited for.
        duration, step: in seconds, > 0; the last bin may be cut short.

    Raises:
        TraceError: nothing arrived, or nothing could be read.
        LedgerUnavailable: the ledger cannot be read at the beginning.
    """
    start = clock.monotonic()
    seen, seen_bin = total(ledger.snapshot([queue]).queue(queue).totals, OFFERED), -1
    bins: dict[int, int] = {}
    try:
        for index in range(math.ceil(duration / step)):
            due = start + min(duration, (index + 1) * step)
            sleep(max(0.0, due - clock.monotonic()))
            try:
                offered = total(ledger.snapshot([queue]).queue(queue).totals, OFFERED)
            except LedgerUnavailable:
                continue
            _spread(bins, _increase(seen, offered), range(seen_bin + 1, index + 1))
            seen, seen_bin = offered, index
    except KeyboardInterrupt:
        pass  # what has been counted is worth as much as if it had been asked for
    return _trace(step, bins, f"queue {queue!r} was sent no job in the time that was recorded")


def _spread(bins: dict[int, int], arrived: int, unknown: range) -> None:
    """Share arrivals out evenly over bins, the rest to the first ones."""
    share, rest = divmod(arrived, len(unknown))
    for place, index in enumerate(unknown):
        bins[index] = bins.get(index, 0) + share + (1 if place < rest else 0)


def _increase(before: float, after: float) -> int:
    """What a counter has counted; one that fell was reset, and counts from 0 again."""
    return round(after - before if after >= before else after)


def from_prometheus(url: str, queue: str, *, duration: float, step: float, end: float | None = None) -> Trace:
    """What a queue was sent in the last `duration` seconds, as a Prometheus has it.

    Asks for `sla_jobs_offered_total` at the end of every step, and takes differences itself: `increase()` would
    extrapolate, and lose what came between the last scrape of one step and the first of the next. Here every job is
    counted once, in the step of the scrape that saw it. Where nothing was scraped, what came is spread evenly. A
    counter that fell was reset; what it had counted since the step before is lost. Several exporters publish the same
    numbers: the highest is taken, not their sum.

    Args:
        url: its base URL, http or https; `user:password@` is sent as basic authentication.
        duration, step: in seconds; a step should be no shorter than the time between two scrapes.
        end: seconds since the epoch; None: the last whole step before now.

    Raises:
        TraceError: it cannot be asked, answers with an error, or has nothing on this queue.
    """
    if end is None:
        end = math.floor(time.time() / step) * step  # asked twice, the same jobs fall into the same steps
    label = queue.replace("\\", "\\\\").replace('"', '\\"')
    query = f'max by (criticality) ({names.OFFERED.name}{{queue="{label}"}})'
    count = max(1, round(duration / step))
    begin = end - count * step
    values: dict[str, dict[int, float]] = {}  # by criticality and number of the step that ends then
    for piece in range(0, count + 1, MOST_POINTS):
        last = min(count, piece + MOST_POINTS - 1)
        asked = {"query": query, "start": begin + piece * step, "end": begin + last * step, "step": step}
        for name, at, value in _points(_ask(url, asked), url):
            if math.isfinite(value):
                values.setdefault(name, {})[round((at - begin) / step)] = value
    bins = {0: 0, count - 1: 0}
    for series in values.values():
        for (earlier, before), (later, after) in pairwise(sorted(series.items())):
            _spread(bins, _increase(before, after), range(earlier, later))
    nothing = f"{redact_url(url)} knows of no job sent to queue {queue!r} in the last {duration:g} s"
    return _trace(step, bins, nothing)


def _ask(url: str, parameters: dict[str, Any]) -> Any:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise TraceError(
            f"{redact_url(url)!r} is no address of a Prometheus: give one such as http://localhost:9090."
        )
    credentials, _, host = parts.netloc.rpartition("@")
    path = f"{parts.path.rstrip('/')}/api/v1/query_range"
    asked = urllib.parse.urlunsplit((parts.scheme, host, path, urllib.parse.urlencode(parameters), ""))
    request = urllib.request.Request(asked)  # noqa: S310 - the scheme has just been checked
    if credentials:
        token = base64.b64encode(urllib.parse.unquote(credentials).encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise TraceError(
            f"Prometheus at {redact_url(url)} answers {error.code} ({_error_of(error)}): check the URL, --step and "
            "--duration."
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise TraceError(
            f"Prometheus at {redact_url(url)} cannot be asked ({reason}): check the URL, and that it runs."
        ) from None


def _error_of(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return error.reason


def _points(answer: Any, url: str) -> list[tuple[str, float, float]]:
    """(criticality, seconds since the epoch, value) of everything in an answer."""
    try:
        return [
            (str(series["metric"].get("criticality")), float(at), float(value))
            for series in answer["data"]["result"]
            for at, value in series["values"]
        ]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise TraceError(
            f"{redact_url(url)} does not answer as a Prometheus does: check the URL, and the path before /api/v1."
        ) from None


def _trace(step: float, bins: dict[int, int], nothing: str) -> Trace:
    if not any(bins.values()):
        raise TraceError(f"{nothing}: check the name, or wait for traffic.")
    return Trace(step, 1.0, tuple(sorted(bins.items())))
