"""Numbers as people write them in a specification: `50ms`, `20/s`, `0.2`."""

from __future__ import annotations

import math
import re

from littleq.errors import ValidationError

#: More jobs take about a gigabyte of memory for each ten million: nearly always a wrong unit.
MOST_JOBS = 10_000_000

_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
_DURATION = re.compile(rf"{_NUMBER}\s*(ms|s|m|min|h|d)?")
_RATE = re.compile(rf"{_NUMBER}\s*(?:/\s*(s|m|min|h))?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def duration(text: str, *, where: str) -> float:
    """Seconds, above 0.

    >>> duration("1.5min", where="--start-up")
    90.0

    Raises:
        ValidationError: naming `where` it stands.
    """
    found = _DURATION.fullmatch(text.strip())
    seconds = float(found[1]) * _SECONDS[found[2] or "s"] if found else math.nan
    if not 0 < seconds < math.inf:
        raise ValidationError(
            f"{where}: {text!r} is not a duration above 0: give one such as 50ms, 2s or 1m."
        )
    return seconds


def rate(text: str, *, where: str) -> float:
    """Jobs per second, at least 0.

    >>> rate("600/min", where="--arrivals"), rate("5", where="--arrivals")
    (10.0, 5.0)

    Raises:
        ValidationError: naming `where` it stands.
    """
    found = _RATE.fullmatch(text.strip())
    value = float(found[1]) / _SECONDS[found[2] or "s"] if found else math.nan
    if not 0 <= value < math.inf:
        raise ValidationError(f"{where}: {text!r} is not a rate: give one such as 20, 20/s or 600/min.")
    return value


def number(text: str, *, where: str) -> float:
    """A finite number from 0 up.

    Raises:
        ValidationError: naming `where` it stands.
    """
    found = re.fullmatch(_NUMBER, text.strip())
    value = float(found[1]) if found else math.nan
    if not value < math.inf:
        raise ValidationError(f"{where}: {text!r} is not a number from 0 up.")
    return value
