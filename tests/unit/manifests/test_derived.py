"""Numbers that follow from the configuration, the ConfigMap, and where the promise cannot hold."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littleq.config import Config, SLAQueueConfig
from littleq.config.sources import load_config
from littleq.manifests import Fleet, Settings, TimeLimit, sizing
from littleq.manifests.cautions import cautions
from littleq.manifests.configuration import settings_toml
from tests.clusters import BATCH, REALTIME, make_fleet


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (600, "Dramatiq's default time limit")),
        (
            {"time_limits": {"realtime": TimeLimit(1.2, "time limit of actor a")}},
            (2, "time limit of actor a"),
        ),
        ({"time_limits": {"batch": TimeLimit(1.2, "other")}}, (600, "Dramatiq's default time limit")),
        ({"grace": 30.0, "time_limits": {"realtime": TimeLimit(1.2, "a")}}, (30, "as given with --grace")),
    ],
)
def test_grace_is_what_was_given_or_the_longest_time_limit(settings: dict[str, Any], expected: Any) -> None:
    assert sizing.grace(REALTIME, Settings("shop:1", **settings)) == expected


@pytest.mark.parametrize(
    ("changes", "workers", "reason"),
    [
        ({}, 1, "the plan for 20 jobs/s of 0.2 s, 99 % within 1 s, 8 threads a worker"),
        ({"threads_per_worker": 2}, 3, "the plan for"),
        ({"concurrency": 1}, 5, "1 thread a worker"),  # a worker runs no more than it may
        ({"min_workers": 2}, 2, "min_workers, for 1 from the plan"),
        ({"threads_per_worker": 1, "max_workers": 4}, 4, "max_workers, for 5 from the plan"),
        ({"arrival_rate": None}, 1, "min_workers; no plan without"),
        ({"arrival_rate": None, "min_workers": 0}, 1, "the least that works; no plan without"),
        (
            {"sla_on": "sojourn", "sla_seconds": 0.1},
            1,
            "min_workers; no plan",
        ),  # jobs take longer than promised
    ],
)
def test_fallback_is_the_plan_within_the_bounds_and_at_least_one(
    changes: dict[str, Any], workers: int, reason: str
) -> None:
    found = sizing.fallback(replace(REALTIME, **changes))
    assert found.value == workers
    assert reason in found.reason


@given(
    rate=st.floats(0.01, 1000),
    service=st.floats(0.001, 10),
    least=st.integers(0, 5),
    threads=st.integers(1, 16),
)
def test_fallback_is_always_within_the_bounds(rate: float, service: float, least: int, threads: int) -> None:
    queue = replace(
        REALTIME,
        arrival_rate=rate,
        service_time_seconds=service,
        min_workers=least,
        max_workers=8,
        threads_per_worker=threads,
    )
    assert max(1, least) <= sizing.fallback(queue).value <= 8


FULL = Config(
    url="redis://me:secret@db",
    ledger_url="redis://other",
    namespace='o"dd\n',
    decide_seconds=2.5,
    exporter_port=9300,
    exporter_host="0.0.0.0",
    exporter_enabled=False,
    queues={
        "mail.bulk": SLAQueueConfig(
            "mail.bulk",
            sla_seconds=30,
            percentile=99.5,
            criticality_shares={"sheddable": 0.25, "default": 0.75},
            retry_routes={"ValueError": "dead", "shop.errors.Gone": "skip"},
            autoscale=False,
            max_step_up=2,
        ),
        "empty": SLAQueueConfig("empty"),
    },
)


def test_the_config_map_makes_the_same_configuration_but_for_secrets_and_what_containers_set(
    tmp_path: Any,
) -> None:
    (tmp_path / "littleq.toml").write_text(settings_toml(FULL))
    read = load_config(path=tmp_path / "littleq.toml", environ={})
    defaults = Config()
    expected = replace(
        FULL,
        url=defaults.url,
        ledger_url=None,
        exporter_host=defaults.exporter_host,
        exporter_enabled=defaults.exporter_enabled,
    )
    assert read == expected


def test_the_config_map_says_what_differs_from_the_defaults_and_no_more() -> None:
    assert tomllib.loads(settings_toml(Config(queues={"empty": SLAQueueConfig("empty")}))) == {
        "queues": {"empty": {}}
    }


def test_a_port_left_to_chance_is_not_handed_on() -> None:
    assert "port" not in settings_toml(Config(exporter_port=0))


def test_whole_seconds_are_written_as_they_were() -> None:
    assert "sla_seconds = 30\n" in settings_toml(FULL) and "percentile = 99.5\n" in settings_toml(FULL)


def said(*queues: SLAQueueConfig, overlays: tuple[str, ...] = ("keda",), **settings: Any) -> list[str]:
    return list(cautions(make_fleet(*queues, **settings), overlays))


def test_waking_from_none_that_takes_longer_than_the_promise_is_said_with_its_parts() -> None:
    (caution,) = said(replace(REALTIME, min_workers=0, sla_seconds=30, startup_seconds=20))
    assert caution.startswith(
        "queue realtime: min_workers is 0, and a worker is there up to 35 s after the first job"
    )
    assert "(5 until decided + 5 scraped + 5 polled + 20 started), but 30 s are promised" in caution


@pytest.mark.parametrize("changes", [{"min_workers": 1}, {"min_workers": 0, "sla_seconds": 45}])
def test_a_promise_that_waking_keeps_is_not_doubted(changes: dict[str, Any]) -> None:
    assert said(replace(REALTIME, **changes)) == []


def test_a_plan_beyond_max_workers_is_said() -> None:
    (caution,) = said(replace(REALTIME, threads_per_worker=1, max_workers=4))
    assert "takes 5 workers, but max_workers is 4: raise it, or promise less." in caution


def test_an_hpa_keeps_one_is_said_where_none_is_wanted() -> None:
    assert said(BATCH, overlays=("hpa",)) == [
        "queue batch: min_workers is 0, but an HPA keeps one worker: only KEDA goes to none."
    ]
    assert said(REALTIME, overlays=("hpa",)) == []


def test_a_fixed_number_of_workers_is_said() -> None:
    (caution,) = said(replace(BATCH, autoscale=False))
    assert "autoscale is false, so it has 1 worker, whatever comes" in caution


def test_a_token_that_is_left_out_is_said() -> None:
    config = Config(queues={"realtime": REALTIME}, exporter_token="s3cret-token-of-the-api")
    (caution,) = cautions(Fleet(config, Settings("shop:1")), ["keda"])
    assert caution.startswith("exporter_token is not in the ConfigMap") and "s3cret" not in caution


@pytest.mark.parametrize("overlay", ["monitoring", "redis"])
def test_what_runs_no_worker_has_nothing_to_say_about_waking(overlay: str) -> None:
    assert said(replace(REALTIME, min_workers=0), overlays=(overlay,)) == []
