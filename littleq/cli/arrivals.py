"""When the producer sends: arrival times, in seconds from the start of a run.

Pure: no clock, and chance only from the `random.Random` that is handed in. Every generator yields a rising
sequence whose long-run rate is the one asked for; how the arrivals clump differs, which is what queues feel.

    steady   |  |  |  |  |  |      fixed gaps
    poisson  | ||    |  ||   |     exponential gaps: independent users
    bursts   |||      |||          `size` at a time, gaps `size` times as long
    trace    as recorded, bin by bin
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from littleq.errors import LittleQError

Arrivals = Iterator[float]


class TraceError(LittleQError):
    """A trace file does not say what a trace file must."""


def steady(interval: float) -> Arrivals:
    """One arrival at 0, then one every `interval` seconds, for ever.

    >>> list(itertools.islice(steady(0.5), 3))
    [0.0, 0.5, 1.0]
    """
    return (number * interval for number in itertools.count())


def poisson(rate: float, rng: random.Random) -> Arrivals:
    """A Poisson process of `rate` arrivals per second, for ever."""
    return itertools.accumulate(rng.expovariate(rate) for _ in itertools.repeat(None))


def bursts(epochs: Arrivals, size: int) -> Arrivals:
    """`size` arrivals at each of the epochs.

    >>> list(itertools.islice(bursts(steady(1.0), 2), 5))
    [0.0, 0.0, 1.0, 1.0, 2.0]
    """
    return (epoch for epoch in epochs for _ in range(size))


def generated(*, rate: float, burst: int, is_poisson: bool, rng: random.Random) -> Arrivals:
    """Arrivals at a mean `rate` (1/s), `burst` at a time, with fixed or exponential gaps between bursts."""
    epochs = poisson(rate / burst, rng) if is_poisson else steady(burst / rate)
    return epochs if burst == 1 else bursts(epochs, burst)


@dataclass(frozen=True, slots=True)
class Trace:
    """Recorded arrivals, by bin.

    Attributes:
        bin_seconds: width of a bin where it was recorded, in seconds; > 0.
        speed_up: how many times faster it is meant to be played; > 0.
        bins: (index of the bin, arrivals in it), the index rising; a bin that is not there had none.
    """

    bin_seconds: float
    speed_up: float
    bins: tuple[tuple[int, int], ...]

    @property
    def total(self) -> int:
        """Arrivals in the whole trace."""
        return sum(arrivals for _, arrivals in self.bins)

    def seconds(self, speed_up: float | None = None) -> float:
        """How long a replay takes."""
        span = self.bins[-1][0] - self.bins[0][0] + 1 if self.bins else 0
        return span * self.bin_seconds / (speed_up or self.speed_up)

    def arrivals(self, rng: random.Random, speed_up: float | None = None) -> Arrivals:
        """All arrivals, the first bin starting at 0, each bin's at random places inside it.

        Given their number, the arrivals of a Poisson process are spread uniformly, so this is the most
        faithful reading of a bin. `speed_up` overrides the trace's own.
        """
        width = self.bin_seconds / (speed_up or self.speed_up)
        first = self.bins[0][0] if self.bins else 0
        for index, arrivals in self.bins:
            start = (index - first) * width
            yield from sorted(start + rng.random() * width for _ in range(arrivals))


def read_trace(path: Path) -> Trace:
    """Read a trace: `# bin_seconds:` and, if wanted, `# speedup:` headers, then `bin,arrivals` rows.

    The file is read whole before anything is sent: a mistake in its last line must not show after an hour.

    Raises:
        TraceError: naming file, line, the value seen and what is legal.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            return _parse(str(path), lines)
    except OSError as error:
        raise TraceError(
            f"The trace {path} cannot be read ({error.strerror}): give a CSV file with bin,arrivals rows."
        ) from None
    except UnicodeDecodeError:
        raise TraceError(
            f"The trace {path} is not text: give a CSV file with bin,arrivals rows in UTF-8."
        ) from None


def _parse(name: str, lines: TextIO) -> Trace:
    headers: dict[str, float] = {}
    bins: list[tuple[int, int]] = []
    titled = False
    for number, raw in enumerate(lines, start=1):
        line, where = raw.strip(), f"{name}, line {number}"
        if not line:
            continue
        if line.startswith("#"):
            headers.update(_header(where, line))
        elif not titled:
            if [cell.strip() for cell in line.split(",")] != ["bin", "arrivals"]:
                raise TraceError(f"{where}: {_quoted(line)} stands where the title row `bin,arrivals` must.")
            titled = True
        else:
            bins.append(_row(where, line, bins[-1][0] if bins else -1))
    if "bin_seconds" not in headers:
        raise TraceError(f"{name} does not say how wide a bin is: add a line such as `# bin_seconds: 60`.")
    if not any(arrivals for _, arrivals in bins):
        raise TraceError(f"{name} holds no arrivals: give at least one `bin,arrivals` row above 0.")
    return Trace(headers["bin_seconds"], headers.get("speedup", 1.0), tuple(bins))


def _header(where: str, line: str) -> dict[str, float]:
    key, colon, text = line.lstrip("# ").partition(":")
    if not colon or key.strip() not in ("bin_seconds", "speedup"):
        return {}
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise TraceError(f"{where}: {key.strip()} is {_quoted(text.strip())}: give a number above 0.")
    return {key.strip(): value}


def _row(where: str, line: str, last: int) -> tuple[int, int]:
    cells = line.split(",")
    try:
        index, arrivals = (int(cell) for cell in cells)
    except ValueError:
        raise TraceError(
            f"{where}: {_quoted(line)} is not a `bin,arrivals` row: give two whole numbers, as in `12,3`."
        ) from None
    if index <= last:
        raise TraceError(f"{where}: bin {index} comes after bin {last}: give bins from 0 up, rising.")
    if arrivals < 0:
        raise TraceError(f"{where}: bin {index} has {arrivals} arrivals: give 0 or more.")
    return index, arrivals


def _quoted(text: str) -> str:
    """What was seen, short enough for one line."""
    return repr(text if len(text) <= 40 else text[:39] + "…")
