"""From counters to rates, means and quantiles: tables by hand, and what must hold for any input."""

from __future__ import annotations

import doctest
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littleq.errors import ValidationError
from littleq.estimators import histogram_quantile, mean, moments, rate, scv

INFINITY = math.inf
times = st.lists(st.floats(min_value=1e-4, max_value=1e4), min_size=2, max_size=50)
histograms = st.lists(
    st.tuples(st.floats(min_value=0.001, max_value=1e3), st.integers(min_value=0, max_value=100)),
    min_size=1,
    max_size=20,
    unique_by=lambda bin_: bin_[0],
)


def test_examples_in_the_docstrings_are_true() -> None:
    results = doctest.testmod(moments)
    assert results.attempted > 0
    assert results.failed == 0


@pytest.mark.parametrize(
    ("count", "seconds", "expected"),
    [(120, 60.0, 2.0), (0, 60.0, 0.0), (5, 0.0, None), (0, 0.0, None), (5, -1.0, None)],
)
def test_rate_needs_a_window(count: float, seconds: float, expected: float | None) -> None:
    assert rate(count, seconds) == expected


def test_mean_needs_an_observation() -> None:
    assert mean(6.0, 3) == 2.0
    assert mean(0.0, 0) is None


def test_scv_of_known_distributions() -> None:
    """A constant; 0 or 2, equally likely: variance 1, mean 1; an exponential: E[X²] = 2 E[X]²."""
    assert scv(10, 30.0, 90.0) == 0.0
    assert scv(2, 2.0, 4.0) == 1.0
    assert scv(1000, 1000 * 0.5, 1000 * 2 * 0.5**2) == pytest.approx(1.0)


@pytest.mark.parametrize(("count", "total", "squares"), [(0, 0.0, 0.0), (1, 2.0, 4.0), (5, 0.0, 0.0)])
def test_scv_of_too_little_is_unknown(count: float, total: float, squares: float) -> None:
    assert scv(count, total, squares) is None


@given(times)
def test_scv_agrees_with_the_statistics_module(values: list[float]) -> None:
    found = scv(len(values), sum(values), sum(value * value for value in values))
    assert found == pytest.approx(
        statistics.pvariance(values) / statistics.fmean(values) ** 2, rel=1e-6, abs=1e-6
    )


@given(st.floats(min_value=1e-3, max_value=1e4), st.integers(min_value=2, max_value=10_000))
def test_scv_of_a_constant_is_never_negative(value: float, count: int) -> None:
    total = squares = 0.0
    for _ in range(min(count, 1000)):
        total += value
        squares += value * value
    assert scv(min(count, 1000), total, squares) == 0.0


@pytest.mark.parametrize(
    ("bins", "q", "expected"),
    [
        ([(1.0, 10), (2.0, 10)], 0.25, 0.5),  # half way through the first bin, which begins at 0
        ([(1.0, 10), (2.0, 10)], 0.5, 1.0),
        ([(1.0, 10), (2.0, 10)], 0.95, 1.9),
        ([(1.0, 10), (2.0, 10)], 1.0, 2.0),
        ([(1.0, 10), (2.0, 10)], 0.0, 0.0),
        ([(2.0, 10), (1.0, 10)], 0.25, 0.5),  # in any order
        ([(1.0, 0), (2.0, 4)], 0.5, 1.5),  # an empty bin still says where the next one begins
        ([(1.0, 0), (2.0, 4)], 0.0, 1.0),
        ([(1.0, 4), (2.0, 0), (4.0, 0)], 1.0, 1.0),  # and nothing lies in it
        ([(1.0, 1), (INFINITY, 9)], 0.99, 1.0),  # at least the highest finite end
        ([(INFINITY, 9)], 0.5, INFINITY),
        ([(-1.0, 4), (1.0, 4)], 0.1, -1.0),  # as Prometheus: no zero to begin at
        ([(1.0, 0), (INFINITY, 0)], 0.5, None),
        ([], 0.5, None),
    ],
)
def test_quantiles_by_hand(bins: list[tuple[float, float]], q: float, expected: float | None) -> None:
    assert histogram_quantile(bins, q) == expected


@pytest.mark.parametrize("q", [-0.01, 1.01, 99.0, math.nan])
def test_a_quantile_outside_its_range_is_refused(q: float) -> None:
    with pytest.raises(ValidationError, match=r"\[0, 1\]"):
        histogram_quantile([(1.0, 1)], q)


@given(histograms, st.floats(min_value=0, max_value=1), st.floats(min_value=0, max_value=1))
def test_quantiles_grow_with_q_and_stay_within_the_bins(
    bins: list[tuple[float, int]], low: float, high: float
) -> None:
    low, high = sorted((low, high))
    below, above = histogram_quantile(bins, low), histogram_quantile(bins, high)
    if sum(count for _, count in bins) == 0:
        assert below is above is None
    else:
        assert below is not None
        assert above is not None
        assert 0.0 <= below <= above <= max(upper for upper, count in bins if count)


@given(times, st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_is_in_the_bin_of_the_true_one(values: list[float], q: float) -> None:
    ends = [10.0**exponent for exponent in range(-4, 5)]
    bins = [(end, sum(end / 10 < value <= end for value in values)) for end in ends]
    bins[0] = (ends[0], sum(value <= ends[0] for value in values))
    true = sorted(values)[max(math.ceil(q * len(values)) - 1, 0)]
    found = histogram_quantile(bins, q)
    assert found is not None
    end = next(end for end in ends if true <= end)
    assert end / 10 * 0.999 <= found <= end * 1.001
