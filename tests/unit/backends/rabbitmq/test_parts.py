"""What needs no server: names, the ladder, URLs, what is remembered of jobs whose link broke."""

from __future__ import annotations

import datetime
import logging
import subprocess
import sys
import time
from typing import Any

import pika
import pytest
from dramatiq import Message
from dramatiq.errors import ConnectionClosed
from hypothesis import given
from hypothesis import strategies as st
from pika import exceptions

from littleq.backends.rabbitmq import RabbitmqBroker
from littleq.backends.rabbitmq.hands import Handed, Hands
from littleq.backends.rabbitmq.ladder import GRAIN_MS, RUNGS, climb, lifetime_ms, pattern, share_due
from littleq.backends.rabbitmq.link import Delivered
from littleq.backends.rabbitmq.long_jobs import version_of
from littleq.backends.rabbitmq.management import Management
from littleq.backends.rabbitmq.morgue import corpse_of
from littleq.backends.rabbitmq.names import Names
from littleq.backends.rabbitmq.outages import explain, in_words, is_transient
from littleq.backends.rabbitmq.quiet import quietly
from littleq.backends.rabbitmq.urls import is_same_server, parameters_of
from littleq.errors import ConfigurationError


def walk(delay_ms: float) -> list[int]:
    """The rungs that a delay takes, as the server's bindings lead it."""
    first, key = climb(delay_ms)
    bits = key.split(".")
    taken = []
    for rung in range(first, -1, -1):
        matched = [bit for bit in (0, 1) if pattern(rung, bit).split(".")[rung] == bits[rung]]
        assert len(matched) == 1  # exactly one of the two bindings of each exchange
        if matched == [1]:
            taken.append(rung)
    return taken


@given(st.floats(min_value=0.001, max_value=38 * 86_400_000))
def test_a_delay_is_the_sum_of_its_rungs_and_never_less(delay_ms: float) -> None:
    rungs = walk(delay_ms)
    total = sum(lifetime_ms(rung) for rung in rungs)
    assert delay_ms <= total < delay_ms + GRAIN_MS + 0.001
    assert rungs == sorted(set(rungs), reverse=True)
    assert rungs[0] == climb(delay_ms)[0]


def test_the_longest_rung_is_a_time_that_the_server_takes() -> None:
    assert lifetime_ms(RUNGS - 1) < 2**32 - 1
    assert walk(10**15) == list(range(RUNGS - 1, -1, -1))


@given(st.integers(0, RUNGS - 1), st.floats(0, 1e12), st.floats(0, 1e12))
def test_the_share_that_is_due_grows_with_time_from_0_to_1(rung: int, one: float, other: float) -> None:
    earlier, later = sorted((one, other))
    assert 0 <= share_due(rung, earlier) <= share_due(rung, later) <= 1
    assert share_due(rung, 2 * lifetime_ms(rung)) == 1


def test_names_of_ours_clash_with_no_queue_of_dramatiqs() -> None:
    names = Names("shop")
    made = {names.first("q", 0), names.kept("q"), names.due("q"), names.rung("q", 3)}
    assert made == {"shop.q@first.0", "shop.q@letters", "shop.q@due", "shop.q@due.03"}
    assert names.queues_in({"shop.q", "shop.q.XQ", "other.q", "other.q.XQ", *made}) == {"q"}


def test_a_url_says_where_the_server_and_its_management_are() -> None:
    parameters, management = parameters_of("amqp://me:secret@db:5673/vh")
    assert (parameters.host, parameters.port, parameters.virtual_host) == ("db", 5673, "vh")
    assert (parameters.heartbeat, parameters.blocked_connection_timeout) == (15, 10)
    assert management == "http://db:15672"
    assert parameters_of("amqps://db")[1] == "https://db:15671"
    assert parameters_of("amqp://[::1]")[1] == "http://[::1]:15672"
    assert parameters_of("amqp://db?management=off")[1] is None
    assert parameters_of("amqp://db?management=https://m:1/")[1] == "https://m:1"
    assert parameters_of("amqp://db?heartbeat=7")[0].heartbeat == 7
    assert parameters_of("amqp://db/")[0].virtual_host == "/"


@pytest.mark.parametrize(
    "url",
    ["amqp://me:hunter2@db:port", "amqp://me:hunter2@db?nonsense=1", "http://me:hunter2@db", "amqp://me:hunter2@db?management=ftp://x:hunter2@y"],
)  # fmt: skip
def test_a_wrong_url_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        RabbitmqBroker(url=url)
    assert "hunter2" not in str(raised.value)
    assert "amqp://" in str(raised.value) or "off" in str(raised.value)


def test_several_servers_stand_in_one_url_and_any_of_them_is_the_server() -> None:
    broker = RabbitmqBroker(url="amqp://one:5672;amqp://two:5672/")
    assert [each.host for each in broker.parameters] == ["one", "two"]
    assert is_same_server(broker.parameters, "amqp://user:pw@two")
    assert not is_same_server(broker.parameters, "amqp://three")
    assert not is_same_server(broker.parameters, "redis://one")
    assert not is_same_server(broker.parameters, "amqp://two/other")


def test_nothing_is_said_to_the_server_before_it_is_needed() -> None:
    broker = RabbitmqBroker(url="amqp://127.0.0.1:1")
    broker.declare_queue("q")
    assert broker.get_declared_queues() == {"q"}
    assert broker.get_declared_delay_queues() == set()  # so that no worker holds delayed jobs in its memory
    with pytest.raises(ConnectionClosed):
        broker.enqueue(Message("q", "work", (), {}, {}))


def test_errors_that_pass_and_those_that_do_not() -> None:
    assert is_transient(exceptions.AMQPConnectionError())
    assert is_transient(exceptions.NackError([]))
    assert is_transient(
        exceptions.ChannelClosedByBroker(406, "delivery acknowledgement on channel 1 timed out")
    )
    assert not is_transient(exceptions.ChannelClosedByBroker(403, "ACCESS_REFUSED"))
    assert not is_transient(ValueError())
    level, said = explain(exceptions.ChannelClosedByBroker(403, "ACCESS_REFUSED"), "q")
    assert level == logging.ERROR and "rights" in said
    level, said = explain(exceptions.ChannelClosedByBroker(406, "delivery acknowledgement … timed out"), "q")
    assert level == logging.WARNING and "consumer_timeout" in said
    assert "the server is away" in explain(exceptions.AMQPConnectionError("gone"), "q")[1]
    assert "memory or disk" in str(in_words(exceptions.ConnectionBlockedTimeout()))


class _Link:
    def __init__(self) -> None:
        self.is_broken = False
        self.answers: list[tuple[str, int]] = []

    def answer(self, what: str, delivered: Delivered) -> None:
        self.answers.append((what, delivered.tag))


def handed(link: Any, tag: int, body: bytes, *, redelivered: bool = False) -> Handed:
    properties = pika.BasicProperties()
    return Handed(Message("q", "a", (), {}, {}), Delivered(link, tag, redelivered, properties, body, False))


def test_a_job_whose_link_broke_while_it_ran_is_settled_when_it_comes_again() -> None:
    hands, first, second = Hands(), _Link(), _Link()
    runs, over = handed(first, 1, b"runs"), handed(first, 2, b"over")
    assert hands.take(runs) and hands.take(over)
    hands.link_broke(first)  # type: ignore[arg-type]
    assert not hands.settle(over)  # nobody can be told
    assert not hands.take(handed(second, 1, b"over", redelivered=True))
    assert second.answers == [("ack", 1)]
    assert not hands.take(handed(second, 2, b"runs", redelivered=True))
    assert second.answers == [("ack", 1)]  # it runs still
    assert len(hands) == 1
    assert hands.settle(runs)
    assert second.answers == [("ack", 1), ("ack", 2)]
    assert first.answers == []
    assert hands.take(handed(second, 3, b"runs"))  # another one of the same content


def test_an_ack_that_was_on_the_wire_when_the_link_broke_is_not_forgotten() -> None:
    hands, first, second = Hands(), _Link(), _Link()
    job = handed(first, 1, b"x")
    assert hands.take(job) and hands.settle(job)
    assert hands.settle(job)  # twice is once
    assert first.answers == [("ack", 1)]
    hands.link_broke(first)  # type: ignore[arg-type]
    assert not hands.take(handed(second, 1, b"x", redelivered=True))
    assert second.answers == [("ack", 1)]


def test_a_job_that_goes_back_after_its_link_broke_goes_back_where_it_came_again() -> None:
    hands, first, second = Hands(), _Link(), _Link()
    job = handed(first, 1, b"x")
    hands.take(job)
    hands.link_broke(first)  # type: ignore[arg-type]
    hands.take(handed(second, 5, b"x", redelivered=True))
    hands.give_back(job)
    assert second.answers == [("back", 5)] and len(hands) == 0


def test_a_letter_is_dated_and_named_by_whoever_put_it_there() -> None:
    ours = corpse_of(pika.BasicProperties(message_id="id", headers={"littleq-died": 1500}), b"x")
    assert (ours.letter_id, ours.died_at, ours.deliveries) == ("id", 1.5, None)
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    headers = {"x-death": [{"reason": "delivery_limit", "time": at}], "x-delivery-count": 201}
    servers = corpse_of(pika.BasicProperties(headers=headers), b"x")
    assert (servers.died_at, servers.deliveries) == (at.timestamp(), 201)
    strangers = corpse_of(pika.BasicProperties(timestamp=7), b"x")
    assert (strangers.died_at, strangers.letter_id) == (7.0, servers.letter_id)
    assert corpse_of(pika.BasicProperties(timestamp=7), b"y").letter_id != servers.letter_id


def test_a_management_api_that_is_away_is_left_alone_for_a_while() -> None:
    management = Management("http://127.0.0.1:1", "guest", "secret", "/")
    assert management.names() is None and management.unacked(["q"]) is None
    assert management.head_times(["q"]) == {}
    began = time.monotonic()
    for _ in range(1000):
        management.names()
    assert time.monotonic() - began < 1
    assert Management(None, "guest", "guest", "/").names() is None


def test_pika_is_quiet_only_where_its_errors_are_told_by_us(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("pika.channel")
    with caplog.at_level(logging.INFO, "pika.channel"):
        with quietly():
            log.warning("Received remote Channel.Close (%s): %r on %s", 404, "", "")
        assert caplog.records == []
        log.warning("an app's own")
    assert [record.message for record in caplog.records] == ["an app's own"]


def test_versions_compare_as_numbers() -> None:
    assert version_of("3.9.1") < version_of("3.10.8") < (3, 12) <= version_of("3.12.0") < version_of("4.0.2")


def test_without_pika_one_sentence_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['pika'] = None\n"
        "from littleq.backends import build_broker\n"
        "from littleq.config import Config\n"
        "from littleq.errors import ConfigurationError\n"
        "try: build_broker(Config(url='amqp://127.0.0.1'))\n"
        "except ConfigurationError as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install 'littleq[rabbitmq]'" in said
