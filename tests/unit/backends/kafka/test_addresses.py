"""URLs, names of topics, and the ladder of delays."""

from __future__ import annotations

import doctest

import pytest

from littleq.backends.kafka import delays, names, topics
from littleq.backends.kafka.broker import KafkaBroker
from littleq.backends.kafka.delays import leaves_at
from littleq.backends.kafka.names import TIERS, Names, tier_for
from littleq.backends.kafka.urls import TopicSettings, address_of
from littleq.errors import ConfigurationError


def test_a_url_is_addresses_and_settings() -> None:
    address = address_of(
        "kafka://a,b:9093?security.protocol=SASL_SSL&littleq.partitions=3&littleq.retention=-1&linger.ms=2"
    )
    assert address.servers == "a:9092,b:9093"
    assert address.topics == TopicSettings(partitions=3, retention=-1)
    producer, consumer = address.producer(**{"linger.ms": 0}), address.consumer()
    assert producer["linger.ms"] == "2", "the URL wins"
    assert "linger.ms" not in consumer, "librdkafka warns of a producer's setting"
    assert consumer["security.protocol"] == producer["security.protocol"] == "SASL_SSL"


def test_a_password_is_in_no_repr() -> None:
    address = address_of("kafka://me:hunter2@a:9092?sasl.mechanism=PLAIN")
    assert address.producer()["sasl.password"] == "hunter2" and address.servers == "a:9092"
    assert "hunter2" not in repr(address)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("kafka://", "write kafka://HOST"),
        ("kafka://me:hunter2@a/topic", "write kafka://HOST"),
        ("kafka://a?group.id=mine", "group.id"),
        ("kafka://a?enable.auto.commit=true", "enable.auto.commit"),
        ("kafka://a?littleq.partition=3", "littleq.partitions"),
        ("kafka://a?littleq.partitions=0", ">= 1"),
        ("kafka://a?littleq.replication=0", "or -1"),
        ("kafka://a?littleq.retention=two", "whole number"),
    ],
)
def test_a_wrong_url_is_explained(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as raised:
        address_of(url)
    assert "hunter2" not in str(raised.value)


def test_a_setting_that_librdkafka_does_not_know_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"sesion\.timeout\.ms"):
        KafkaBroker(url="kafka://127.0.0.1:1?sesion.timeout.ms=1")
    with pytest.raises(ConfigurationError, match=r"session\.timeout\.ms") as raised:
        KafkaBroker(url="kafka://me:hunter2@127.0.0.1:1?session.timeout.ms=x")
    assert "hunter2" not in str(raised.value)


def test_a_namespace_of_ones_own_goes_before_all_names() -> None:
    plain, own = Names(), Names("shop")
    assert (plain.topic("q"), plain.dead("q"), plain.group("q")) == ("q", "q.XQ", "dramatiq.q")
    assert (own.topic("q"), own.dead("q"), own.group("q")) == ("shop.q", "shop.q.XQ", "shop.q")
    there = {"q", "q.XQ", "shop.q", "shop.q.XQ", "other", "lost.XQ"}
    assert set(own.queues(there)) == {"q"}
    assert "q" in set(plain.queues(there)) and "other" not in set(plain.queues(there))


@pytest.mark.parametrize("remaining", [0.001, 0.5, 1.0, 7.0, 59.9, 3600.0, 86_400.0 * 30])
def test_a_job_reaches_its_due_time_in_few_steps(remaining: float) -> None:
    """Never late by a tier: none is longer than what is left."""
    now, due, steps = 1000.0, 1000.0 + remaining, 0
    while now < due:
        tier = tier_for(due - now)
        assert tier.seconds <= due - now or tier is TIERS[0]
        left = leaves_at(tier, round(now * 1000), round(due * 1000), now)
        assert now < left <= due + 0.001
        now, steps = max(left, now), steps + 1
        if tier is TIERS[0]:
            break
    assert now == pytest.approx(due, abs=0.002)
    assert steps <= 45 + remaining / 43_200


def test_a_senders_wrong_clock_holds_nothing_up_for_longer_than_its_tier() -> None:
    tier = tier_for(60.0)
    assert leaves_at(tier, stamp_ms=10**15, due_ms=10**15, now=1000.0) == 1060.0


def test_examples() -> None:
    for module in (names, delays, topics):
        assert doctest.testmod(module).failed == 0
