"""How the command line writes numbers: short, aligned, the unit always there."""

from __future__ import annotations

import math
from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"
NOTHING = "–"

#: The two units that a long time is written in: their widths in seconds, and up to where the first is used.
_PAIRS = (
    ((60, "min", 3600), (1, "s")),
    ((3600, "h", 86400), (60, "min")),
    ((86400, "d", math.inf), (3600, "h")),
)


def _strange(value: float | None) -> str:
    return "∞" if value == math.inf else NOTHING


def seconds(value: float | None) -> str:
    """A duration in the unit that suits it.

    >>> [seconds(v) for v in (0.0, 0.00042, 0.0123, 1.234, 75, 7260, 200000, None)]
    ['0 s', '0.42 ms', '12.3 ms', '1.23 s', '75 s', '2 h 1 min', '2 d 8 h', '–']
    """
    if value is None or not math.isfinite(value):
        return _strange(value)
    if value < 120:
        if value <= 0:
            return "0 s"
        return f"{_digits(value * 1000)} ms" if value < 0.9995 else f"{_digits(value)} s"
    big, small = next((b, s) for b, s in _PAIRS if value < b[2])
    whole = round(value / small[0]) * small[0]
    rest = whole % big[0] // small[0]
    return f"{whole // big[0]} {big[1]}" + (f" {rest} {small[1]}" if rest else "")


def number(value: float | None) -> str:
    """A count or a mean: whole when it is, three digits when it is not.

    >>> [number(v) for v in (0, 7, 3.14159, 1234567, 2.0, None)]
    ['0', '7', '3.14', '1,234,567', '2', '–']
    """
    if value is None or not math.isfinite(value):
        return _strange(value)
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else _digits(value)


def rate(value: float | None) -> str:
    """Jobs per second.

    >>> rate(19.96), rate(0), rate(None)
    ('20/s', '0/s', '–')
    """
    return NOTHING if value is None else f"{number(float(_digits(value)))}/s"


def percent(share: float | None) -> str:
    """A share in percent.

    >>> percent(0.5), percent(0.0012), percent(1), percent(None)
    ('50 %', '0.12 %', '100 %', '–')
    """
    return NOTHING if share is None else f"{number(float(_digits(share * 100)))} %"


def counted(value: int, noun: str, plural: str = "") -> str:
    """`1 job`, `1,200 jobs`."""
    return f"{value:,} {noun if value == 1 else plural or noun + 's'}"


def _digits(value: float) -> str:
    """Three significant digits at most, no trailing zeros, no exponent."""
    if value == 0:
        return "0"
    places = min(6, max(0, 2 - math.floor(math.log10(abs(value)))))
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def sparkline(values: Sequence[float | None], width: int) -> str:
    """The last `width` values as bars, scaled to their maximum: the lowest bar is 0, a gap is not known.

    >>> sparkline([0, 1, 2, None, 4], 8)
    '   ▁▃▅ █'
    """
    shown = values[-width:] if width > 0 else []
    top = max((value for value in shown if value is not None), default=0.0) or 1.0
    levels = len(_BARS) - 1
    bars = (" " if value is None else _BARS[min(levels, math.ceil(value / top * levels))] for value in shown)
    return "".join(bars).rjust(width)


def bar(share: float, width: int) -> str:
    """A track of `width` cells, filled to `share` in eighths of a cell.

    >>> bar(0.5, 4), bar(0.03, 4), bar(0.0, 3), bar(2, 3)
    ('██░░', '▏░░░', '░░░', '███')
    """
    full, part = divmod(min(width * 8, max(0, math.ceil(share * width * 8))), 8)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[part] if part else "")).ljust(width, "░")
