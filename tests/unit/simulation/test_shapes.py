"""Shapes of arrivals: their rate at each moment, and what a specification may say."""

from __future__ import annotations

import math
import random

import pytest

from littleq.errors import ValidationError
from littleq.simulation.shapes import parse_shape


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("poisson:20", {0: 20, 599: 20}),
        ("poisson:600/min", {0: 10}),
        ("ramp:5..50", {0: 5, 300: 27.5, 600: 50}),
        ("ramp:50..0", {0: 50, 300: 25}),
        ("step:5,50@1m,20@120s", {0: 5, 59.9: 5, 60: 50, 119: 50, 120: 20, 599: 20}),
        ("onoff:50,30s,60s", {0: 50, 29: 50, 30: 0, 89: 0, 90: 50, 121: 0}),
        ("onoff:50,30s,60s,2", {31: 2}),
        ("flash:5,105@100s,10s", {0: 5, 99: 5, 100: 105, 110: 55, 120: 30}),
        ("diurnal:5..50", {0: 5, 300: 50, 600: 5, 150: 27.5}),
        ("diurnal:5..50,1m", {0: 5, 30: 50, 90: 50}),
    ],
)
def test_the_rate_at_each_moment(text: str, rates: dict[float, float]) -> None:
    shape = parse_shape(text, 600.0)
    assert {at: shape.rate(at) for at in rates} == pytest.approx(rates)
    assert all(shape.rate(at) <= shape.peak + 1e-9 for at in range(600))


@pytest.mark.parametrize("text", ["ramp:2..20", "onoff:30,20s,40s", "diurnal:1..30,1m", "flash:3,60@50s,20s"])
def test_as_many_jobs_arrive_as_the_rate_adds_up_to(text: str) -> None:
    """In each of six spans; a Poisson count is within 4.5 deviations but once in 10^5."""
    shape, runs = parse_shape(text, 120.0), 60
    counts = [0] * 6
    for seed in range(runs):
        for at in shape.times(120.0, random.Random(seed)):
            counts[int(at / 20)] += 1
    for span, count in enumerate(counts):
        expected = runs * sum(shape.rate(20 * span + step / 50 + 0.01) / 50 for step in range(1000))
        assert abs(count - expected) <= 4.5 * math.sqrt(expected) + 0.01 * expected


def test_steady_arrivals_have_equal_gaps() -> None:
    assert parse_shape("steady:4", 1.0).times(1.0, random.Random(0)) == [0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is no arrival process: give poisson:20"),
        ("poisson", "is no arrival process"),
        ("poisson:", "is no arrival process"),
        ("poison:5", "'poison:5' is no arrival process"),
        ("poisson:fast", "'fast' is not a rate"),
        ("poisson:-5", "'-5' is not a rate"),
        ("poisson:5,6", "give one rate"),
        ("poisson:0", "nothing ever arrives"),
        ("onoff:0,1s,1s", "nothing ever arrives"),
        ("poisson:1000000000", "give a lower rate or a shorter --duration"),
        ("ramp:5", "'5' is no range of rates"),
        ("ramp:5..6,7", "one range"),
        ("step:5,50", "'50' does not say when"),
        ("step:5,50@0", "'0' is not a duration"),
        ("step:5,50@2m,20@1m", "'20@1m' is not later"),
        ("onoff:5,1m", "give a rate, how long it is on"),
        ("onoff:5,1m,soon", "'soon' is not a duration"),
        ("flash:5,100", "a peak and its time"),
        ("flash:5", "a peak and its time"),
        ("flash:50,10@1m", "peak 10 is below the rate 50"),
        ("diurnal:5..50,1h,2", "a range of rates and a period"),
    ],
)
def test_what_is_no_shape_is_refused_in_a_sentence(text: str, says: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        parse_shape(text, 600.0)
    assert says in str(refusal.value)
    assert str(refusal.value).startswith("--arrivals")
    assert "\n" not in str(refusal.value)
