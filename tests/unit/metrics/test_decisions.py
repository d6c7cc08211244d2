"""What was decided is told while it is new enough to act on, and how old it is always."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from littleq.autoscale import events
from littleq.ledger.base import LedgerUnavailable, Record
from littleq.ledger.decisions import read_decisions, stale_after
from littleq.metrics import labels
from littleq.metrics.steps import stepped
from littleq.policies.scaling import INPUTS, Decision

if TYPE_CHECKING:
    from .conftest import Fleet

NOW = 1_700_000_000.0  # the fake ledger's clock

AGE = 'sla_decision_age_seconds{queue="realtime"}'
DESIRED = 'sla_desired_workers{queue="realtime"}'


@pytest.fixture
def decided(fleet: Fleet) -> Fleet:
    """300 jobs of 0.5 s wait for 1 s at most, and one worker of two threads is there."""
    fleet.ledger.decide("realtime", 3.0, {"breached": 2}, ready=300, in_flight=2, workers=1, oldest_age=0.5)
    return fleet


def of_decisions(page: dict[str, float]) -> set[str]:
    """Families that tell of decisions."""
    found = {series.partition("{")[0] for series in page}
    return {
        name
        for name in found
        if re.match(r"sla_(decision|desired|required|time_to|events|max_workers|breaker)", name)
    }


def test_a_decision_is_told_with_its_inputs(decided: Fleet) -> None:
    (published,) = read_decisions(decided.ledger).values()
    decision, page = published.decision, decided.scrape()
    assert decision.desired_workers > 1
    assert page[DESIRED] == decision.desired_workers
    assert page['sla_required_servers{queue="realtime"}'] == decision.required_servers
    assert page['sla_time_to_breach_seconds{queue="realtime"}'] == decision.time_to_breach
    assert page[AGE] == 3.0
    assert page[f'sla_decision_regime{{queue="realtime",regime="{decision.regime}"}}'] == 1
    inputs = {
        name: page.get(f'sla_decision_input{{input="{name}",queue="realtime"}}')
        for name in labels.DECISION_INPUTS
    }
    assert inputs == {name: decision.inputs[name] for name in labels.DECISION_INPUTS}
    assert (inputs["workers"], inputs["oldest_age"], inputs["idle_for"]) == (1, 0.5, None)


def test_the_bounds_of_a_decision_and_its_time_are_told(decided: Fleet) -> None:
    page = decided.scrape()
    assert page['sla_max_workers{queue="realtime"}'] == 1000
    assert page['sla_decision_timestamp_seconds{queue="realtime"}'] == NOW - 3.0
    assert (
        page['sla_desired_workers_stepped{queue="realtime"}'] == stepped(int(page[DESIRED])) >= page[DESIRED]
    )


@pytest.mark.parametrize(
    ("seen", "told"), [({}, 0), ({"paused": True}, 0), ({"breaker_open": True}, 1)], ids=str
)
def test_a_breaker_that_was_open_is_told_and_a_pause_is_none(
    fleet: Fleet, seen: dict[str, bool], told: int
) -> None:
    fleet.ledger.decide("realtime", 0.0, {}, ready=5, in_flight=0, workers=1, **seen)
    assert fleet.scrape()['sla_breaker_open{queue="realtime"}'] == told


def test_events_are_counted_from_0(decided: Fleet) -> None:
    page = decided.scrape()
    told = {event: page[f'sla_events_total{{event="{event}",queue="realtime"}}'] for event in labels.EVENTS}
    assert told == {"breach_predicted": 0, "breached": 2, "recovered": 0}


def test_a_breach_that_is_not_in_sight_is_left_out(fleet: Fleet) -> None:
    fleet.ledger.decide("realtime", 0.0, {}, ready=0, in_flight=0, workers=1)
    page = fleet.scrape()
    assert DESIRED in page
    assert 'sla_time_to_breach_seconds{queue="realtime"}' not in page


@pytest.mark.parametrize("beyond", [0.0, 0.5])
def test_a_stale_decision_is_told_by_its_age_alone(decided: Fleet, beyond: float) -> None:
    """KEDA and the HPA act on a number that they find: they must find none."""
    record = decided.ledger.decided["realtime"]
    limit = stale_after(5.0)
    decided.ledger.decided["realtime"] = replace(record, decided_at=record.decided_at + 3.0 - limit - beyond)
    page = decided.scrape()
    assert page[AGE] == limit + beyond
    assert (DESIRED in page) == (beyond == 0.0)
    if beyond:
        assert of_decisions(page) == {
            "sla_decision_age_seconds",
            "sla_decision_timestamp_seconds",
            "sla_events_total",
        }
        assert page['sla_decision_timestamp_seconds{queue="realtime"}'] == NOW - limit - beyond


def test_a_ledger_that_cannot_be_read_leaves_all_of_it_out(decided: Fleet) -> None:
    assert of_decisions(decided.scrape())
    decided.ledger.error = LedgerUnavailable("cut off")
    assert of_decisions(decided.scrape()) == set()


def test_what_another_release_wrote_is_left_out_and_the_rest_told(decided: Fleet) -> None:
    decided.ledger.decided["other"] = Record({"verdict": 7}, state=None)
    page = decided.scrape()
    assert DESIRED in page
    assert not [series for series in page if '"other"' in series]


def test_closed_label_sets_are_those_of_the_policy() -> None:
    assert Decision.__doc__ is not None
    regimes = re.search(r"regime: (.*) \(see", Decision.__doc__)
    assert regimes
    assert tuple(re.findall(r"`(\w+)`", regimes[1])) == labels.REGIMES
    assert labels.EVENTS == events.EVENTS
    assert set(labels.DECISION_INPUTS) < set(INPUTS)


def test_every_input_that_is_one_number_is_told(decided: Fleet) -> None:
    """Of a decision that has them all; those that are left out are lists, words and flags."""
    (published,) = read_decisions(decided.ledger).values()
    scalars = {
        name
        for name, value in published.decision.inputs.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    assert scalars | {"idle_for"} == set(labels.DECISION_INPUTS)
