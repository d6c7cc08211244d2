"""The query of a ScaledObject, and how names get into it."""

from __future__ import annotations

import pytest

from littleq.errors import ValidationError
from littleq.monitoring.queries import desired_workers_query, selector


def test_a_queue_is_asked_for_by_name_and_with_more_matchers() -> None:
    found = desired_workers_query(
        "a.b-c", gauge="sla_desired_workers_stepped", matchers='namespace="shop",', stale_seconds=135.0
    )
    assert found == (
        'max(sla_desired_workers_stepped{queue="a.b-c",namespace="shop"}) and on() '
        '(time() - max(sla_decision_timestamp_seconds{queue="a.b-c",namespace="shop"}) < 135)'
    )


def test_a_name_cannot_leave_its_quotes() -> None:
    """Dramatiq refuses such names; a broker may hold one all the same."""
    assert r'{queue="a\"} or vector(9)\\\n"}' in desired_workers_query('a"} or vector(9)\\\n')


def test_no_matcher_leaves_no_braces() -> None:
    assert (selector("sla_up"), selector("sla_up", "", " ")) == ("sla_up", "sla_up")


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_guard_that_never_or_always_holds_is_refused(seconds: float) -> None:
    with pytest.raises(ValidationError, match="stale_seconds must be above 0, not"):
        desired_workers_query("q", stale_seconds=seconds)


def test_a_gauge_that_is_no_number_of_workers_is_refused() -> None:
    with pytest.raises(ValidationError, match="use sla_desired_workers or sla_desired_workers_stepped"):
        desired_workers_query("q", gauge="sla_workers")
