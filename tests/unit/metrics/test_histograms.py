from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littleq.ledger import fields
from littleq.metrics.histograms import bins, cumulative

SLAS = st.floats(min_value=1e-3, max_value=1e5)
WAITS = st.lists(st.floats(min_value=0.0, max_value=1e7), max_size=60)


def observe(waits: list[float], sla_seconds: float) -> dict[str, float]:
    counts: dict[str, float] = {}
    for wait in waits:
        name = fields.bin_field(fields.WAIT, fields.wait_bounds(sla_seconds), wait)
        counts[name] = counts.get(name, 0.0) + 1
    return counts


@given(waits=WAITS, sla=SLAS)
def test_buckets_never_fall_and_the_last_holds_every_observation(waits: list[float], sla: float) -> None:
    buckets = cumulative(observe(waits, sla), fields.WAIT, fields.wait_bounds(sla))
    assert [upper for upper, _ in buckets] == [*fields.wait_bounds(sla), math.inf]
    counts = [count for _, count in buckets]
    assert counts == sorted(counts)
    assert counts[-1] == len(waits)


@given(waits=WAITS, sla=SLAS)
def test_a_bucket_holds_what_was_observed_up_to_its_end(waits: list[float], sla: float) -> None:
    for upper, count in cumulative(observe(waits, sla), fields.WAIT, fields.wait_bounds(sla)):
        assert count == sum(wait <= upper for wait in waits)


@given(waits=WAITS, before=SLAS, now=SLAS)
def test_bins_of_an_earlier_sla_are_kept_and_never_make_a_wait_look_shorter(
    waits: list[float], before: float, now: float
) -> None:
    buckets = cumulative(observe(waits, before), fields.WAIT, fields.wait_bounds(now))
    assert buckets[-1][1] == len(waits)
    for upper, count in buckets:
        assert count <= sum(wait <= upper for wait in waits)


@pytest.mark.parametrize(
    "foreign", ["wait:le:", "wait:le:soon", "wait:le:nan", "wait:count", "sojourn:le:1", "done", "wait:le"]
)
def test_fields_that_are_no_bins_are_passed_over(foreign: str) -> None:
    assert bins({foreign: 5.0, "wait:le:1": 1.0}, "wait", (1.0,)) == (1.0, 0.0)
