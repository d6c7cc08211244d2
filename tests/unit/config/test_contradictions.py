"""Settings that do not go together: what is refused, and what is only doubted."""

from __future__ import annotations

from typing import Any

import pytest

from littleq.config import Config, SLAQueueConfig
from littleq.config.contradictions import doubts
from littleq.errors import ConfigurationError


def refusal(make: Any, *args: Any, **settings: Any) -> str:
    """The sentence with which `make` refuses its arguments."""
    with pytest.raises(ConfigurationError) as caught:
        make(*args, **settings)
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "beginning"),
    [
        ({"admission": "contract"}, "admission is 'contract', but arrival_rate is not set"),
        ({"on_overload": "divert"}, "on_overload is 'divert', but divert_to is not set"),
        ({"divert_to": "q"}, "divert_to is 'q', the queue itself"),
        (
            {"min_backoff_seconds": 5, "max_backoff_seconds": 4},
            "min_backoff_seconds is 5.0: it must be <= max_b",
        ),
        (
            {"max_backoff_seconds": 4},
            "max_backoff_seconds is 4.0: it must be >= min_backoff_seconds, which is 15.0",
        ),
        ({"min_workers": 11}, "min_workers is 11: it must be <= max_workers, which is 10 by default"),
        ({"min_workers": 3, "max_workers": 2}, "min_workers is 3: it must be <= max_workers, which is 2;"),
        (
            {"concurrency": 3, "concurrency_global": 2},
            "concurrency is 3: it must be <= concurrency_global, which is 2; lower it, or raise concurrency_global",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], beginning: str) -> None:
    assert f"SLAQueueConfig('q') {beginning}" in refusal(SLAQueueConfig, "q", **settings)


@pytest.mark.parametrize(
    "bounds",
    [{"concurrency": 9}, {"concurrency_global": 1}, {"concurrency": 2, "concurrency_global": 2}],
)
def test_bounds_of_process_and_fleet_go_together(bounds: dict[str, int]) -> None:
    queue = SLAQueueConfig("q", **bounds)
    assert (queue.concurrency, queue.concurrency_global) == (
        bounds.get("concurrency"),
        bounds.get("concurrency_global"),
    )


def test_queues_that_divert_in_a_circle_are_refused_once() -> None:
    def diverting(name: str, to: str) -> SLAQueueConfig:
        return SLAQueueConfig(name, on_overload="divert", divert_to=to)

    line = {"a": diverting("a", "b"), "b": diverting("b", "c")}
    assert Config(queues=line).queues == line
    sentence = refusal(Config, queues=line | {"c": diverting("c", "a"), "d": diverting("d", "a")})
    assert sentence.count("leads back") == 1 and "a → b → c → a" in sentence


@pytest.mark.parametrize(
    ("settings", "piece"),
    [
        ({"arrival_rate": 0.5, "sla_seconds": 1}, "0.5 jobs, less than one"),
        ({"arrival_rate": 90, "service_time_seconds": 1}, "needs max_workers > 11.25"),
        (
            {"arrival_rate": 30, "service_time_seconds": 1, "concurrency": 2},
            "with 2 jobs each run at most 20",
        ),
        (
            {"arrival_rate": 30, "service_time_seconds": 1, "concurrency_global": 30},
            "needs concurrency_global > 30",
        ),
        (
            {"sla_on": "sojourn", "service_time_seconds": 3, "sla_seconds": 2},
            "a job takes 3.0 s of the 2.0 s",
        ),
        ({"arrival_rate": 10, "service_time_seconds": 1, "threads_per_worker": 1}, "needs max_workers > 10"),
        ({"divert_to": "other"}, "never used"),
        ({"criticality_shares": {"default": 0.3}}, "refuse more critical jobs first"),
    ],
)
def test_what_runs_but_is_hardly_meant_raises_a_doubt(settings: dict[str, Any], piece: str) -> None:
    queue = SLAQueueConfig("q", **settings)
    told = list(doubts(Config(queues={"q": queue})))
    assert len(told) == 1 and piece in told[0] and told[0].startswith("queue q: ")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"sla_seconds": 1, "min_backoff_seconds": 15},
        {"arrival_rate": 1, "sla_seconds": 1},
        {"arrival_rate": 79, "service_time_seconds": 1},
        {"arrival_rate": 79, "service_time_seconds": 1, "concurrency_global": 80},
        {"arrival_rate": 0.1, "sla_seconds": 1, "admission": "capacity"},
        {"on_overload": "divert", "divert_to": "other"},
    ],
)
def test_what_is_sensible_raises_none(settings: dict[str, Any]) -> None:
    assert list(doubts(Config(queues={"q": SLAQueueConfig("q", **settings)}))) == []


def test_threads_that_are_given_go_before_those_of_the_queue() -> None:
    queue = SLAQueueConfig("q", arrival_rate=79, service_time_seconds=1, threads_per_worker=1)
    config = Config(queues={"q": queue})
    assert list(doubts(config, threads=8)) == []
    assert "with 1 jobs each run at most 10" in next(doubts(config))


@pytest.mark.parametrize(
    ("settings", "is_doubted"), [({}, True), ({"arrival_rate": 1}, True), ({"admission": "off"}, False)]
)
def test_a_bounded_control_queue_raises_a_doubt(settings: dict[str, Any], is_doubted: bool) -> None:
    """A decision that is refused is none; and periodiq ends when it is."""
    config = Config(queues={"c": SLAQueueConfig("c", **settings)}, control_queue="c")
    assert [("must never be refused" in doubt) for doubt in doubts(config)] == [True] * is_doubted


@pytest.mark.parametrize(
    ("url", "workers", "says"),
    [
        ("kafka://a", 13, "a new topic has 12 partitions (littleq.partitions is not set in url)"),
        ("kafka://a?littleq.partitions=4", 5, "a new topic has 4 partitions (littleq.partitions in url)"),
        ("kafka://a", 12, None),
        ("kafka://a?littleq.partitions=40", 40, None),
        ("amqp://a", 40, None),
        ("redis://a?littleq.partitions=1", 40, None),
    ],
)
def test_more_workers_than_partitions_are_a_doubt(url: str, workers: int, says: str | None) -> None:
    queues = {"q": SLAQueueConfig("q", max_workers=workers)}
    told = list(doubts(Config(url=url, queues=queues)))
    assert (says is not None and says in told[0]) or told == []
    control = {"littleq.control": SLAQueueConfig("littleq.control", max_workers=40, admission="off")}
    assert list(doubts(Config(url=url, queues=control))) == []


def test_the_partitions_that_are_assumed_are_those_that_topics_get() -> None:
    from littleq.backends.kafka.urls import DEFAULT_PARTITIONS
    from littleq.config.kinds import KAFKA_PARTITIONS

    assert KAFKA_PARTITIONS == DEFAULT_PARTITIONS


@pytest.mark.parametrize("url", ["amqp://rabbit", "amqps://rabbit", "sqs://eu-west-1", "kafka://a:9092"])
def test_a_broker_that_keeps_no_ledger_is_no_place_for_it(url: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"ledger_url is '.*', a broker that cannot keep a ledger"
    ) as no:
        Config(ledger_url=url)
    assert "redis://localhost:6379, embedded:// on one machine, or memory://" in str(no.value)
