"""The models: what is legal, what is refused and in which words, and that nothing shows a secret."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from littleq.config import Config, SLAQueueConfig
from littleq.config.kinds import FrozenDict
from littleq.config.messages import setting_names
from littleq.errors import ConfigurationError


def refusal(make: Any, *args: Any, **settings: Any) -> str:
    """The sentence with which `make` refuses its arguments."""
    with pytest.raises(ConfigurationError) as caught:
        make(*args, **settings)
    return str(caught.value)


# What a user of the example writes ------------------------------------------------------------------


def test_a_queue_is_declared_by_position() -> None:
    queue = SLAQueueConfig("realtime", 20, 1, 8, 0.8, 5)
    assert (queue.name, queue.arrival_rate, queue.sla_seconds) == ("realtime", 20.0, 1.0)
    assert (queue.jobs_per_worker, queue.scale_threshold, queue.max_retries) == (8, 0.8, 5)


def test_the_order_of_the_first_six_settings_is_fixed() -> None:
    assert setting_names(SLAQueueConfig)[:6] == [
        "name",
        "arrival_rate",
        "sla_seconds",
        "jobs_per_worker",
        "scale_threshold",
        "max_retries",
    ]


@pytest.mark.parametrize(
    ("settings", "mode"),
    [
        ({}, "capacity"),
        ({"arrival_rate": 2}, "contract"),
        ({"arrival_rate": 2, "admission": "off"}, "off"),
        ({"arrival_rate": 2, "admission": "capacity"}, "capacity"),
    ],
)
def test_the_mode_of_admission_follows_from_the_settings(settings: dict[str, Any], mode: str) -> None:
    assert SLAQueueConfig("q", **settings).admission_mode == mode


def test_a_share_that_is_not_set_has_its_default() -> None:
    queue = SLAQueueConfig("q", criticality_shares={"default": 0.7})
    assert [queue.criticality_share(c) for c in ("critical", "default", "sheddable")] == [1.0, 0.7, 0.5]


# Refused, and how ----------------------------------------------------------------------------------

NAN = float("nan")


@pytest.mark.parametrize(
    ("setting", "value", "pieces"),
    [
        ("arrival_rate", 0, ["is 0:", "a number > 0", "leave it out"]),
        ("arrival_rate", "20", ["is '20':", "a number > 0"]),
        ("arrival_rate", True, ["is True:", "a number > 0"]),
        ("arrival_rate", float("inf"), ["is inf:", "a finite number > 0"]),
        ("arrival_rate", 10**400, ["a number > 0"]),
        ("sla_seconds", -1.5, ["is -1.5:", "a number of seconds > 0", "default (60.0)"]),
        ("sla_seconds", None, ["is None:", "a number of seconds > 0"]),
        ("sla_seconds", NAN, ["is nan:", "a finite number of seconds > 0"]),
        ("jobs_per_worker", 0, ["is 0:", "a whole number >= 1", "default (8)"]),
        ("jobs_per_worker", 2.5, ["is 2.5:", "a whole number >= 1"]),
        ("jobs_per_worker", True, ["is True:", "a whole number >= 1"]),
        ("scale_threshold", 1.01, ["is 1.01:", "a number > 0 and <= 1", "default (0.8)"]),
        ("scale_threshold", NAN, ["is nan:", "a finite number > 0 and <= 1"]),
        ("max_retries", -1, ["is -1:", "a whole number >= 0", "default (20)"]),
        ("percentile", 100, ["is 100:", "a number >= 1 and < 100", "default (99.0)"]),
        ("percentile", 0.99, ["is 0.99:", "a number >= 1 and < 100"]),
        ("percentile", NAN, ["is nan:", "a finite number >= 1 and < 100"]),
        ("sla_on", "start", ["is 'start':", "wait or sojourn", "default (wait)"]),
        ("admission", "strict", ["is 'strict':", "contract, capacity or off", "leave it out"]),
        ("on_overload", "drop", ["is 'drop':", "shed, defer or divert", "default (shed)"]),
        ("divert_to", "no spaces", ["is 'no spaces':", "a queue name"]),
        ("jitter", "none", ["is 'none':", "full, equal or decorrelated", "default (full)"]),
        (
            "criticality_shares",
            [1],
            ["is [1]:", "a table from critical, default or sheddable to a number > 0"],
        ),
        ("min_backoff_seconds", 0, ["is 0:", "a number of seconds > 0", "default (15.0)"]),
        ("max_backoff_seconds", "1h", ["is '1h':", "a number of seconds > 0", "default (604800.0)"]),
        ("retry_budget", -0.1, ["is -0.1:", "a number >= 0", "default (0.1)"]),
        ("retry_routes", "dead", ["is 'dead':", "a table from an exception's name to retry, dead or skip"]),
        ("max_deliveries", 0, ["is 0:", "a whole number >= 1", "default (5)"]),
        ("max_deliveries", None, ["is None:", "a whole number >= 1"]),
        ("dead_retention_seconds", 0, ["is 0:", "a number of seconds > 0", "leave it out"]),
        ("dead_retention_seconds", float("inf"), ["is inf:", "a finite number of seconds > 0"]),
        ("concurrency", 0, ["is 0:", "a whole number >= 1"]),
        ("concurrency_global", 0, ["is 0:", "a whole number >= 1", "leave it out"]),
        ("concurrency_global", 1.0, ["is 1.0:", "a whole number >= 1"]),
        ("min_workers", -1, ["is -1:", "a whole number >= 0", "default (0)"]),
        ("max_workers", 0, ["is 0:", "a whole number >= 1", "default (10)"]),
        ("threads_per_worker", 0, ["is 0:", "a whole number >= 1", "default (8)"]),
        ("startup_seconds", -0.1, ["is -0.1:", "a number of seconds >= 0", "default (30.0)"]),
        ("startup_seconds", NAN, ["is nan:", "a finite number of seconds >= 0"]),
        ("max_step_up", 0, ["is 0:", "a whole number >= 1", "leave it out"]),
        ("max_step_down", 1.5, ["is 1.5:", "a whole number >= 1", "leave it out"]),
        ("autoscale", "no", ["is 'no':", "true or false", "default (true)"]),
        ("service_time_seconds", 0, ["is 0:", "a number of seconds > 0"]),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(setting: str, value: Any, pieces: list[str]) -> None:
    sentence = refusal(SLAQueueConfig, "realtime", **{setting: value})
    assert sentence.startswith(f"SLAQueueConfig('realtime') {setting} ")
    assert "\n" not in sentence
    assert [piece for piece in pieces if piece not in sentence] == []


@pytest.mark.parametrize(
    ("setting", "value", "beginning"),
    [
        (
            "criticality_shares",
            {"sheddable": 0},
            "criticality_shares.sheddable is 0: it must be a number > 0",
        ),
        (
            "criticality_shares",
            {"low": 0.5},
            "criticality_shares.low is 'low': it must be critical, default or",
        ),
        (
            "retry_routes",
            {"ValueError": "drop"},
            "retry_routes.ValueError is 'drop': it must be retry, dead or",
        ),
        ("retry_routes", {"a b": "dead"}, "retry_routes.\"a b\" is 'a b': it must be an exception's name"),
    ],
)
def test_inside_a_table_the_wrong_entry_is_named(setting: str, value: Any, beginning: str) -> None:
    assert f"SLAQueueConfig('q') {beginning}" in refusal(SLAQueueConfig, "q", **{setting: value})


@pytest.mark.parametrize("name", ["", "1st", "two words", "mail/bulk", "realtime\n", "é", 5, None])
def test_a_name_that_no_dramatiq_queue_can_have_is_refused(name: Any) -> None:
    assert "name is" in (sentence := refusal(SLAQueueConfig, name))
    assert "a queue name" in sentence


def test_a_wrong_value_given_by_position_is_named() -> None:
    assert "SLAQueueConfig('realtime') sla_seconds is 0:" in refusal(SLAQueueConfig, "realtime", 20, 0)


def test_a_queue_without_a_name_is_refused() -> None:
    assert "name is missing: it must be a queue name" in refusal(SLAQueueConfig, arrival_rate=1)


@pytest.mark.parametrize(
    ("wrong", "suggestion"),
    [
        ("sla_second", "use sla_seconds,"),
        ("sla-seconds", "use sla_seconds,"),
        ("SLA_SECONDS", "use sla_seconds,"),
        ("retries", "use max_retries,"),
        ("sla", "use sla_seconds or sla_on,"),
        ("zzz", "use one of name, arrival_rate, sla_seconds,"),
    ],
)
def test_an_unknown_setting_is_answered_with_the_nearest(wrong: str, suggestion: str) -> None:
    sentence = refusal(SLAQueueConfig, "q", **{wrong: 1})
    assert f"{wrong} is not a setting: {suggestion}" in sentence


def test_all_problems_are_told_but_not_a_page_of_them() -> None:
    sentence = refusal(SLAQueueConfig, "q", sla_seconds=0, max_retries=-1)
    assert "sla_seconds is 0" in sentence and "max_retries is -1" in sentence
    assert sentence.endswith(".") and not sentence.endswith("..")
    many = refusal(SLAQueueConfig, *["x"] * 20)
    assert "; and " in many and many.endswith(" more.")


@pytest.mark.parametrize(
    ("settings", "beginning"),
    [
        (
            {"url": "localhost:6379"},
            "Config url is 'localhost:6379': it must be a URL that begins with embedded://",
        ),
        ({"url": 5}, "Config url is 5:"),
        ({"ledger_url": "http://x"}, "Config ledger_url is 'http://x':"),
        ({"namespace": ""}, "Config namespace is '': it must be a text that is not empty"),
        ({"flush_seconds": 0}, "Config flush_seconds is 0: it must be a number of seconds > 0"),
        (
            {"heartbeat_timeout_seconds": 0.9},
            "Config heartbeat_timeout_seconds is 0.9: it must be a number of seconds >= 1; correct it, or leave it",
        ),
        ({"heartbeat_timeout_seconds": NAN}, "Config heartbeat_timeout_seconds is nan: it must be a finite"),
        ({"exporter_enabled": "yes"}, "Config exporter_enabled is 'yes': it must be true or false"),
        ({"exporter_enabled": 1}, "Config exporter_enabled is 1: it must be true or false"),
        (
            {"decide_seconds": 0.5},
            "Config decide_seconds is 0.5: it must be a number of seconds >= 1; correct it",
        ),
        (
            {"control_queue": "two words"},
            "Config control_queue is 'two words': it must be a queue name",
        ),
        (
            {"exporter_port": 65536},
            "Config exporter_port is 65536: it must be a whole number >= 0 and <= 65535",
        ),
        ({"queues": [1]}, "Config queues is [1]: it must be a table from queue names to SLAQueueConfig"),
        ({"queues": {"a": {}}}, "Config queues.a is {}: it must be an object of SLAQueueConfig"),
        ({"queues": {"a": SLAQueueConfig("b")}}, "Config queues.a.name is 'b': it must be 'a', its key"),
        ({"queue": {}}, "Config queue is not a setting: use queues"),
        ({"url": "redis://***@db"}, "Config url holds ***"),
    ],
)
def test_a_wrong_process_setting_is_refused(settings: dict[str, Any], beginning: str) -> None:
    assert refusal(Config, **settings).startswith(beginning)


# Immutable, hashable, cheap to ask ------------------------------------------------------------------


def test_a_configuration_cannot_be_changed() -> None:
    config = Config(queues={"a": SLAQueueConfig("a", retry_routes={"ValueError": "dead"})})
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.url = "stub://"  # type: ignore[misc]
    for table in (config.queues, config.queues["a"].retry_routes):
        assert isinstance(table, FrozenDict)
        for change in (table.clear, table.popitem, lambda table=table: table.update(b=1)):
            with pytest.raises(TypeError, match="make another one"):
                change()
        with pytest.raises(TypeError, match="make another one"):
            table["b"] = 1


def test_what_a_configuration_was_made_from_can_change_without_it() -> None:
    routes = {"ValueError": "dead"}
    queue = SLAQueueConfig("a", retry_routes=routes)  # type: ignore[arg-type]
    routes.clear()
    assert queue.retry_routes == {"ValueError": "dead"}


def test_a_configuration_can_be_hashed_copied_and_pickled() -> None:
    config = Config(queues={"a": SLAQueueConfig("a", 2, criticality_shares={"sheddable": 0.1})})
    for twin in (copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert twin == config and hash(twin) == hash(config)
        assert twin.queues["a"].given == config.queues["a"].given


def test_replace_checks_again() -> None:
    queue = SLAQueueConfig("a", sla_seconds=2)
    assert dataclasses.replace(queue, sla_seconds=3.0).sla_seconds == 3.0
    assert "sla_seconds is 0" in refusal(dataclasses.replace, queue, sla_seconds=0)


def test_a_configured_queue_is_handed_out_as_it_is() -> None:
    queue = SLAQueueConfig("a")
    assert Config(queues={"a": queue}).queue("a") is queue


@pytest.mark.parametrize("name", ["other", "other.DQ", "no queue of Dramatiq's", ""])
def test_a_queue_that_nobody_configured_refuses_nothing_and_is_not_shown(name: str) -> None:
    config = Config(queues={"a": SLAQueueConfig("a")})
    found = config.queue(name)
    assert (found.name, found.admission_mode) == (name, "off")
    assert config.queue(name) is found
    assert set(config.queues) == {"a"}
    assert config == Config(queues={"a": SLAQueueConfig("a")})


def test_given_names_what_was_written() -> None:
    assert SLAQueueConfig("a", 5, percentile=99.0).given == {"name", "arrival_rate", "percentile"}
