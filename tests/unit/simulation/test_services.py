"""Distributions of service times: their mean, their variability, and what a specification may say."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from littleq.errors import ValidationError
from littleq.simulation.services import parse_service

DRAWS = 40_000


@pytest.mark.parametrize(
    ("text", "mean", "cv"),
    [
        ("exp:0.2", 0.2, 1.0),
        ("exp:200ms", 0.2, 1.0),
        ("lognormal:0.2,cv=0.5", 0.2, 0.5),
        ("lognormal:2", 2.0, 1.0),
        ("gamma:0.2,cv=0.5", 0.2, 0.5),
        ("gamma:2,cv=2", 2.0, 2.0),
        ("uniform:0.1..0.3", 0.2, 1 / math.sqrt(12)),
    ],
)
def test_the_mean_and_the_deviation_are_those_asked_for(text: str, mean: float, cv: float) -> None:
    """The mean within 4.5 standard errors, which is once in 10^5 not so; the deviation within 10 %."""
    rng = random.Random(1)
    draw = parse_service(text)
    samples = [draw(rng) for _ in range(DRAWS)]
    assert min(samples) > 0
    assert abs(statistics.fmean(samples) - mean) < 4.5 * cv * mean / math.sqrt(DRAWS)
    assert statistics.stdev(samples) / mean == pytest.approx(cv, rel=0.1)


@pytest.mark.parametrize("text", ["constant:0.2", "lognormal:0.2,cv=0", "uniform:0.2..0.2"])
def test_without_variability_all_are_the_same(text: str) -> None:
    draw, rng = parse_service(text), random.Random(0)
    assert [draw(rng) for _ in range(3)] == [0.2, 0.2, 0.2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is no service time: give exp:0.2"),
        ("pareto:2", "'pareto:2' is no service time"),
        ("exp", "is no service time"),
        ("exp:0", "'0' is not a duration above 0"),
        ("exp:-1", "'-1' is not a duration"),
        ("exp:0.2,cv=2", "'cv=2' means nothing here"),
        ("lognormal:0.2,scv=2", "'scv=2' means nothing here"),
        ("lognormal:0.2,cv", "'cv' means nothing here"),
        ("lognormal:0.2,cv=wide", "'wide' is not a number"),
        ("uniform:0.2", "'0.2' is no range"),
        ("uniform:0.3..0.1", "give the smaller one first"),
        ("uniform:0..1", "'0' is not a duration"),
    ],
)
def test_what_is_no_distribution_is_refused_in_a_sentence(text: str, says: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        parse_service(text)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)
