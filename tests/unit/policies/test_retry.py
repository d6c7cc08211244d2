"""The schedule of retries is a table; chance only spreads it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littleq.errors import ValidationError
from littleq.policies.retry import MAX_STRETCH, Backoff, RetryBudget, decide, route_for

JITTERS = ("full", "equal", "decorrelated")


@pytest.mark.parametrize(
    ("retries", "base"),
    [(0, 15), (1, 30), (2, 60), (3, 120), (10, 15360), (15, 491520), (16, 604800), (4000, 604800)],
)
def test_base_doubles_up_to_the_maximum(retries: int, base: float) -> None:
    assert Backoff(15, 7 * 86400).base(retries) == base


@given(
    retries=st.integers(0, 10_000),
    minimum=st.floats(0.001, 100),
    factor=st.floats(1, 1e6),
    jitter=st.sampled_from(JITTERS),
    last_wait=st.none() | st.floats(0, 1e9),
    seed=st.integers(),
)
def test_wait_stays_within_its_bounds(
    retries: int, minimum: float, factor: float, jitter: str, last_wait: float | None, seed: int
) -> None:
    backoff = Backoff(minimum, minimum * factor, jitter)  # type: ignore[arg-type]
    wait = backoff.wait(retries, last_wait, random.Random(seed))
    base = backoff.base(retries)
    if jitter == "full":
        assert 0 <= wait <= base
    elif jitter == "equal":
        assert base / 2 <= wait <= base
    else:
        assert minimum <= wait <= backoff.maximum
        assert wait <= max(minimum, 3 * (last_wait or minimum)) * (1 + 1e-12)


@pytest.mark.parametrize("jitter", JITTERS)
def test_jitter_spreads_jobs_that_failed_together(jitter: str) -> None:
    backoff = Backoff(1, 1000, jitter)  # type: ignore[arg-type]
    rng = random.Random(7)
    waits = sorted(backoff.wait(5, 20.0, rng) for _ in range(1000))
    tenth = (waits[-1] - waits[0]) / 10
    busiest = max(sum(1 for wait in waits if start <= wait < start + tenth) for start in waits)
    assert busiest < 200  # uniform: 100 in a tenth of the range; without jitter: 1000


def test_mean_of_full_jitter_is_half_the_base() -> None:
    rng = random.Random(11)
    backoff = Backoff(1, 1000, "full")
    mean = sum(backoff.wait(4, None, rng) for _ in range(4000)) / 4000
    assert 16 / 2 - 0.4 < mean < 16 / 2 + 0.4  # standard error 16/√12/√4000 = 0.073


@pytest.mark.parametrize(("minimum", "maximum"), [(-1, 1), (2, 1)])
def test_bounds_out_of_order_are_refused(minimum: float, maximum: float) -> None:
    with pytest.raises(ValidationError, match="give 0 <= minimum <= maximum"):
        Backoff(minimum, maximum)


@pytest.mark.parametrize(
    ("retries", "max_retries", "route", "expected", "reason"),
    [
        (0, 3, "retry", "retry", "retry"),
        (2, 3, "retry", "retry", "retry"),
        (3, 3, "retry", "dead", "exhausted"),
        (0, 0, "retry", "dead", "exhausted"),
        (99, None, "retry", "retry", "retry"),
        (0, 3, "dead", "dead", "refused"),
        (9, 3, "skip", "skip", "routed to skip"),
    ],
)
def test_decision_table(
    retries: int, max_retries: int | None, route: str, expected: str, reason: str
) -> None:
    decision = decide(
        Backoff(1, 10),
        retries=retries,
        max_retries=max_retries,
        route=route,  # type: ignore[arg-type]
        last_wait=None,
        rng=random.Random(0),
    )
    assert (decision.route, decision.reason) == (expected, reason)


def test_nearest_class_decides_the_route() -> None:
    routes = {"Exception": "dead", "OSError": "skip", "builtins.ConnectionError": "retry"}
    assert route_for(ConnectionResetError(), routes) == "retry"  # type: ignore[arg-type]
    assert route_for(FileNotFoundError(), routes) == "skip"  # type: ignore[arg-type]
    assert route_for(KeyError(), routes) == "dead"  # type: ignore[arg-type]


def test_retries_within_the_budget_do_not_wait_longer() -> None:
    budget = RetryBudget(ratio=0.1)
    for _ in range(1000):
        budget.first_attempt(now=0.0)
    assert [budget.stretch(now=0.0) for _ in range(110)] == [1.0] * 110
    assert budget.stretch(now=0.0) > 1.0


def test_stretch_is_bounded_and_fades() -> None:
    budget = RetryBudget(ratio=0.1)
    for _ in range(100_000):
        worst = budget.stretch(now=0.0)
    assert worst == MAX_STRETCH
    assert budget.stretch(now=3600.0) == 1.0


def test_a_clock_that_stands_still_or_steps_back_does_no_harm() -> None:
    budget = RetryBudget(ratio=0.1)
    budget.first_attempt(now=100.0)
    assert budget.stretch(now=50.0) == 1.0
