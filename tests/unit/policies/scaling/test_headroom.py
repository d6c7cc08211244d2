"""Headroom learned from the past: candidates in virtual time, and the cheapest that kept the promise."""

from __future__ import annotations

import copy
import doctest
import json
import math
from typing import Any

import pytest

from littleq.policies.scaling import headroom
from littleq.policies.scaling.headroom import (
    CANDIDATES,
    DEAREST,
    FIRST_MARGIN,
    FORECASTS,
    MARGINS,
    Shadows,
    _late_share,
    _pools,
)

SERVICE, STARTUP, INTERVAL, MISS_SHARE = 0.5, 30.0, 5.0, 0.01


def played(
    counts: list[float], shadows: Shadows | None = None, begin: float = 0.0, **changes: Any
) -> Shadows:
    """With so many jobs in each interval; the forecasts say: the last count, the highest of 36 and of 120."""
    shadows = shadows or Shadows()
    rates = [count / INTERVAL for count in counts]
    for k, count in enumerate(counts):
        now = begin + (k + 1) * INTERVAL
        shadows = shadows.after(
            now,
            INTERVAL,
            count,
            **{
                "rates": (rates[k], max(rates[max(0, k - 35) : k + 1]), max(rates[max(0, k - 119) : k + 1])),
                "service_time": SERVICE,
                "servers_for": lambda rate: max(1, math.ceil(rate * SERVICE)),
                "patience": 1.0,
                "startup": STARTUP,
                "warm": True,
                **changes,
            },
        )
    return shadows


def chosen(counts: list[float]) -> headroom.Choice:
    rate = counts[-1] / INTERVAL
    peak = max(counts[-120:]) / INTERVAL
    return played(counts).choose((rate, peak, peak), MISS_SHARE)


def test_examples_in_the_docstrings_are_true() -> None:
    results = doctest.testmod(headroom)
    assert results.attempted > 0
    assert results.failed == 0


@pytest.mark.parametrize(
    ("first", "last", "share"),
    [(0.0, 1.0, 0.0), (0.0, 4.0, 0.75), (4.0, 0.0, 0.75), (1.0, 1.0, 0.0), (1.1, 1.1, 1.0), (1.0, 9.0, 1.0)],
)
def test_the_share_that_is_late_by_hand(first: float, last: float, share: float) -> None:
    assert _late_share(first, last, 1.0) == pytest.approx(share)


def test_without_a_past_the_margin_is_the_first_one() -> None:
    assert Shadows().choose((4.0, 5.0, 6.0), MISS_SHARE) == (FORECASTS[0], 4.0, FIRST_MARGIN, 0.0)


def test_a_pool_is_there_when_it_was_asked_for_through_a_start_up_time() -> None:
    """Asked for 2, then 6, then 6 …: 6 are there a start-up time after the first 6, and paid from then on."""
    asked = [(5.0 * k, (2.0 if k < 8 else 6.0,) * 3) for k in range(17)]
    assert _pools(asked, 20.0, STARTUP) is None  # too little past
    assert _pools(asked, 45.0, STARTUP) == [(2.0, 6.0)] * 3
    assert _pools(asked, 75.0, STARTUP) == [(6.0, 6.0)] * 3
    assert _pools([], 75.0, STARTUP) is None


def test_a_pool_keeps_what_it_was_asked_for_within_the_last_start_up_time() -> None:
    asked = [(5.0 * k, (6.0 if k < 12 else 2.0,) * 3) for k in range(30)]
    assert _pools(asked, 80.0, STARTUP) == [(6.0, 6.0)] * 3
    assert _pools(asked, 90.0, STARTUP) == [(2.0, 2.0)] * 3


def test_nobody_is_judged_before_the_forecasts_have_a_past() -> None:
    shadows = played([50.0] * 60, warm=False)
    assert shadows.jobs == 0.0
    assert set(shadows.costs) == {0.0}
    assert shadows.asked


def test_a_steady_load_needs_no_memory_of_peaks() -> None:
    choice = chosen([50.0] * 2000)
    assert choice.margin <= 2.0
    assert choice.misses <= MISS_SHARE


def test_bursts_that_come_back_are_provided_for() -> None:
    """15 s at twice the rate, every five minutes: over before a worker could be there."""
    quiet, burst = [50.0] * 57, [100.0] * 3
    calm, bursty = chosen([50.0] * 600), chosen((quiet + burst) * 10 + quiet)
    assert bursty.rate * bursty.margin > 1.5 * calm.rate * calm.margin
    assert bursty.rate * bursty.margin >= 18.0  # of the 20 that come in a burst


def test_more_headroom_never_misses_more_nor_costs_less() -> None:
    shadows = played(([50.0] * 50 + [200.0] * 10) * 8)
    for f in range(len(FORECASTS)):
        own = [k for k, (of, _) in enumerate(CANDIDATES) if of == f]
        misses, costs = [shadows.misses[k] for k in own], [shadows.costs[k] for k in own]
        assert misses == sorted(misses, reverse=True)
        assert costs == sorted(costs)
        assert misses[0] > misses[-1]


def test_a_promise_that_costs_too_much_is_kept_as_well_as_is_worth_it() -> None:
    """15 s at ten times the rate, every five minutes: nobody who counts is ready for that all the time."""
    quiet, burst = [50.0] * 57, [500.0] * 3
    choice = chosen((quiet + burst) * 10 + quiet)
    assert choice.misses > MISS_SHARE
    assert choice.rate * choice.margin < 50.0


@pytest.mark.parametrize(("price", "margin"), [(200.0, MARGINS[1]), (1.01 * DEAREST * 100.0, MARGINS[0])])
def test_the_cheapest_that_keeps_the_promise_is_believed_unless_it_is_too_dear(
    price: float, margin: float
) -> None:
    """One candidate misses a little more than it may for 100, one nothing for more, all others everything."""
    almost, good = CANDIDATES.index((2, 0)), CANDIDATES.index((2, 1))
    misses, costs = [1e6] * len(CANDIDATES), [100.0] * len(CANDIDATES)
    misses[almost], misses[good], costs[good] = 6250.0, 0.0, price
    shadows = Shadows(misses=tuple(misses), costs=tuple(costs), jobs=1e6, work=1e6)
    choice = shadows.choose((4.0, 5.0, 6.0), MISS_SHARE)
    assert (choice.of, choice.rate, choice.margin) == (FORECASTS[2], 6.0, margin)


def test_a_strict_promise_is_given_no_less_than_a_loose_one() -> None:
    shadows = played(([50.0] * 50 + [100.0] * 10) * 8)
    rates = (10.0, 20.0, 20.0)
    loose, strict = shadows.choose(rates, 0.5), shadows.choose(rates, 0.001)
    assert loose.rate * loose.margin <= strict.rate * strict.margin
    assert loose.misses > strict.misses


def test_no_virtual_backlog_grows_for_ever() -> None:
    shadows = played([1.0] * 20 + [100_000.0] * 100, rates=(0.2, 0.2, 0.2))
    speed = math.ceil(0.2 * SERVICE * MARGINS[-1]) / SERVICE
    assert max(shadows.backlogs) == pytest.approx(speed * (STARTUP + 1.0))


def test_shadows_are_left_as_they_were() -> None:
    shadows = played([50.0] * 60)
    before = copy.deepcopy(shadows)
    played([500.0] * 20, shadows, begin=300.0)
    assert shadows == before


def test_shadows_go_through_json_and_go_on_as_before() -> None:
    shadows = played(([50.0] * 20 + [200.0] * 10) * 4)
    back = Shadows.from_dict(json.loads(json.dumps(shadows.as_dict())))
    rates = (40.0, 40.0, 40.0)
    assert back.asked == shadows.asked
    assert back.choose(rates, MISS_SHARE)[:3] == shadows.choose(rates, MISS_SHARE)[:3]
    on, back_on = (played([300.0] * 20, each, begin=600.0) for each in (shadows, back))
    assert back_on.misses == pytest.approx(on.misses, abs=0.1)
    assert Shadows.from_dict(json.loads(json.dumps(Shadows().as_dict()))) == Shadows()


def test_shadows_of_a_release_with_other_candidates_begin_anew() -> None:
    record = played([50.0] * 60).as_dict()
    record["costs"] = record["costs"][:-1]
    assert Shadows.from_dict(record) == Shadows()


def test_they_remember_a_bounded_past() -> None:
    assert len(played([50.0] * 500).asked) <= 2 * 8 + 3
