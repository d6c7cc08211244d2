"""How long jobs take, written in one line.

exp:0.2                exponential, mean 0.2 s
constant:200ms         all the same
lognormal:0.2,cv=2     mean 0.2 s, deviation twice the mean; cv = 1 where it is not given
gamma:0.2,cv=0.5       the same, of lighter tail
uniform:0.1..0.3       anything in between
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from littleq.errors import ValidationError
from littleq.simulation.quantities import duration, number

Sampler = Callable[[random.Random], float]

_EXAMPLES = "exp:0.2, constant:200ms, lognormal:0.2,cv=2, gamma:0.2,cv=0.5 or uniform:0.1..0.3"


def parse_service(text: str, *, where: str = "--service") -> Sampler:
    """A function that draws service times, in seconds, from a generator that it is given.

    Raises:
        ValidationError: naming the part that is wrong and what is legal.
    """
    kind, colon, rest = text.strip().partition(":")
    where_it_stands = f"{where} {text!r}"
    if kind == "uniform" and colon:
        return _uniform(rest, where_it_stands)
    if kind not in ("exp", "constant", "lognormal", "gamma") or not colon:
        raise ValidationError(f"{where}: {text!r} is no service time: give {_EXAMPLES}.")
    mean_text, comma, option = rest.partition(",")
    mean = duration(mean_text, where=where_it_stands)
    cv = 1.0
    if comma:
        name, equals, value = option.partition("=")
        if kind in ("exp", "constant") or name.strip() != "cv" or not equals:
            raise ValidationError(f"{where_it_stands}: {option!r} means nothing here: give {_EXAMPLES}.")
        cv = number(value, where=where_it_stands)
    if kind == "constant" or cv == 0:
        return lambda _: mean
    if kind == "exp":
        return lambda rng: rng.expovariate(1.0 / mean)
    if kind == "gamma":
        shape = 1.0 / cv**2
        return lambda rng: rng.gammavariate(shape, mean / shape)
    variance = math.log1p(cv**2)
    mu, sigma = math.log(mean) - variance / 2, math.sqrt(variance)
    return lambda rng: rng.lognormvariate(mu, sigma)


def _uniform(text: str, where: str) -> Sampler:
    low_text, dots, high_text = text.partition("..")
    if not dots:
        raise ValidationError(f"{where}: {text!r} is no range: give one such as uniform:0.1..0.3.")
    low, high = duration(low_text, where=where), duration(high_text, where=where)
    if low > high:
        raise ValidationError(
            f"{where}: the range goes from {low:g} s down to {high:g} s: give the smaller one first."
        )
    return lambda rng: rng.uniform(low, high)
