"""Synthetic arrivals: a rate that changes over time, written in one line.

steady:20                   one job every 50 ms
poisson:20                  independent users, 20 a second on average
ramp:5..50                  Poisson, from 5 to 50 a second over the whole run
step:5,50@10m,20@20m        Poisson, 5 a second, from minute 10 on 50, from minute 20 on 20
onoff:50,2m,3m              Poisson, 2 minutes at 50 a second, 3 minutes at none; a fourth number: the rate then
flash:5,100@10m,1m          Poisson, 5 a second; at minute 10 at once 100, which falls to half every minute
diurnal:5..50,1h            Poisson, a wave between 5 and 50 with a period of an hour; default: the whole run
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile

from littleq.errors import ValidationError
from littleq.simulation.arrivals import poisson, steady
from littleq.simulation.quantities import MOST_JOBS, duration, rate

_EXAMPLES = (
    "poisson:20, steady:20, ramp:5..50, step:5,50@10m, onoff:50,2m,3m, flash:5,100@10m,1m or diurnal:5..50,1h"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """Arrivals whose rate is a function of time.

    Attributes:
        rate: jobs per second at so many seconds from the start; at most `peak`.
        peak: > 0.
        is_steady: fixed gaps at the rate `peak`, no chance.
    """

    rate: Callable[[float], float]
    peak: float
    is_steady: bool = False

    def times(self, seconds: float, rng: random.Random) -> list[float]:
        """The arrivals of a run of so many seconds, rising.

        A Poisson process of changing rate, by thinning one of the peak rate.

        Source: Lewis & Shedler, Simulation of nonhomogeneous Poisson processes by thinning, Naval Res. Logist.
        Quart. 26 (1979).
        """
        if self.is_steady:
            return list(takewhile(lambda at: at < seconds, steady(1.0 / self.peak)))
        candidates = takewhile(lambda at: at < seconds, poisson(self.peak, rng))
        return [at for at in candidates if rng.random() * self.peak < self.rate(at)]


def parse_shape(text: str, seconds: float, *, where: str = "--arrivals") -> Shape:
    """The shape that a specification describes, over a run of so many seconds.

    Raises:
        ValidationError: naming the part that is wrong and what is legal.
    """
    kind, colon, rest = text.strip().partition(":")
    build = _KINDS.get(kind)
    if build is None or not colon or not rest:
        raise ValidationError(f"{where}: {text!r} is no arrival process: give {_EXAMPLES}.")
    shape = build(rest.split(","), seconds, f"{where} {text!r}")
    if shape.peak <= 0:
        raise ValidationError(f"{where} {text!r}: nothing ever arrives: give a rate above 0.")
    if shape.peak * seconds > MOST_JOBS:
        raise ValidationError(
            f"{where} {text!r}: up to {shape.peak * seconds:.3g} jobs in {seconds:g} s: give a lower rate or a "
            f"shorter --duration, for at most {MOST_JOBS:,}."
        )
    return shape


def _constant(parts: list[str], where: str) -> float:
    if len(parts) != 1:
        raise ValidationError(f"{where}: give one rate, as in poisson:20.")
    return rate(parts[0], where=where)


def _poisson(parts: list[str], _seconds: float, where: str) -> Shape:
    level = _constant(parts, where)
    return Shape(lambda _: level, level)


def _steady(parts: list[str], _seconds: float, where: str) -> Shape:
    level = _constant(parts, where)
    return Shape(lambda _: level, level, is_steady=True)


def _range(text: str, where: str) -> tuple[float, float]:
    low, dots, high = text.partition("..")
    if not dots:
        raise ValidationError(f"{where}: {text!r} is no range of rates: give one such as 5..50.")
    return rate(low, where=where), rate(high, where=where)


def _ramp(parts: list[str], seconds: float, where: str) -> Shape:
    if len(parts) != 1:
        raise ValidationError(f"{where}: give one range of rates, as in ramp:5..50.")
    first, last = _range(parts[0], where)
    return Shape(lambda at: first + (last - first) * at / seconds, max(first, last))


def _step(parts: list[str], _seconds: float, where: str) -> Shape:
    levels, starts = [rate(parts[0], where=where)], [0.0]
    for part in parts[1:]:
        level, at, when = part.partition("@")
        if not at:
            raise ValidationError(
                f"{where}: {part!r} does not say when: give a rate and a time, as in 50@10m."
            )
        levels.append(rate(level, where=where))
        starts.append(duration(when, where=where))
        if starts[-1] <= starts[-2]:
            raise ValidationError(f"{where}: {part!r} is not later than the step before it.")
    return Shape(lambda at: levels[bisect_right(starts, at) - 1], max(levels))


def _onoff(parts: list[str], _seconds: float, where: str) -> Shape:
    if len(parts) not in (3, 4):
        raise ValidationError(
            f"{where}: give a rate, how long it is on and how long off, as in onoff:50,2m,3m."
        )
    high, on, off = (
        rate(parts[0], where=where),
        duration(parts[1], where=where),
        duration(parts[2], where=where),
    )
    low = rate(parts[3], where=where) if len(parts) == 4 else 0.0
    return Shape(lambda at: high if at % (on + off) < on else low, max(high, low))


def _flash(parts: list[str], _seconds: float, where: str) -> Shape:
    spike, at, when = parts[1].partition("@") if len(parts) in (2, 3) else ("", "", "")
    if not at:
        raise ValidationError(f"{where}: give a rate, a peak and its time, as in flash:5,100@10m,1m.")
    base, peak, start = rate(parts[0], where=where), rate(spike, where=where), duration(when, where=where)
    half_life = duration(parts[2], where=where) if len(parts) == 3 else 60.0
    if peak < base:
        raise ValidationError(f"{where}: the peak {peak:g} is below the rate {base:g} before it.")

    def level(seconds_in: float) -> float:
        if seconds_in < start:
            return base
        return base + (peak - base) * math.pow(0.5, (seconds_in - start) / half_life)

    return Shape(level, peak)


def _diurnal(parts: list[str], seconds: float, where: str) -> Shape:
    if len(parts) > 2:
        raise ValidationError(f"{where}: give a range of rates and a period, as in diurnal:5..50,1h.")
    low, high = _range(parts[0], where)
    period = duration(parts[1], where=where) if len(parts) == 2 else seconds
    middle, swing = (low + high) / 2, (high - low) / 2
    return Shape(lambda at: middle - swing * math.cos(2 * math.pi * at / period), max(low, high))


_KINDS: dict[str, Callable[[list[str], float, str], Shape]] = {
    "poisson": _poisson,
    "steady": _steady,
    "ramp": _ramp,
    "step": _step,
    "onoff": _onoff,
    "flash": _flash,
    "diurnal": _diurnal,
}
