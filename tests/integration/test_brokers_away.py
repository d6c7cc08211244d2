"""A server that is away, or refuses us, is one sentence on every broker: which server, what is wrong, what to do."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from littleq.autoscale.controller import Controller
from littleq.backends import Backend, backend_for, build_broker
from littleq.backends.trouble import BrokerUnavailable
from littleq.cli.root import run
from littleq.config import Config, SLAQueueConfig
from littleq.ledger.memory import MemoryLedger
from littleq.metrics.collector import FleetCollector
from littleq.metrics.sources import Source
from tests.brokers.kafka import Tansu, kafka_server
from tests.brokers.rabbitmq import RabbitServer
from tests.conftest import free_port
from tests.fluid import Fleet

__all__ = ["kafka_server"]

SERVERS = {
    "rabbitmq": "amqp://me:hunter2@127.0.0.1:{port}",
    "sqs": "sqs://eu-west-1?endpoint=http://127.0.0.1:{port}",
    "kafka": "kafka://me:hunter2@127.0.0.1:{port}",
}
COMMANDS = (
    ("queue", "list"),
    ("queue", "list", "--queue", "q"),
    ("dlq", "list"),
    ("dlq", "show", "x"),
    ("dlq", "replay", "--all"),
    ("dlq", "purge", "--all", "--yes"),
    ("audit",),
)


@pytest.fixture(params=SERVERS)
def away(request: pytest.FixtureRequest, aws: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a server that nobody runs. On Kafka that is not waited for as long as usual."""
    monkeypatch.setattr("littleq.backends.kafka.topics.ANSWER_SECONDS", 0.5)
    monkeypatch.setenv("LITTLEQ_LEDGER_URL", "redis://127.0.0.1:1")
    return SERVERS[request.param].format(port=free_port())


@pytest.fixture
def littleq(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command; its exit code, and what came to both outputs, a client's own words too."""
    monkeypatch.chdir(tmp_path)

    def call(*args: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run(args)
        return code, *capfd.readouterr()

    return call


def test_a_command_says_which_server_is_away(away: str, littleq: Any) -> None:
    for command in COMMANDS:
        code, out, err = littleq(*command, "--url", away)
        assert (code, out) == (2, ""), command
        assert err.startswith("littleq: The ") and "is away (Connection refused): start it" in err, command
        assert err.count("\n") == 1 and "hunter2" not in err


def test_the_monitor_and_the_producer_say_so_too(away: str, littleq: Any, tmp_path: Path) -> None:
    code, out, err = littleq("monitor", "--once", "--url", away)
    assert code == 2
    assert "is away (Connection refused)" in err and "hunter2" not in out + err
    assert err.count("\n") == 1
    app = f"actors_{free_port()}"
    (tmp_path / f"{app}.py").write_text(
        "import dramatiq, littleq\nlittleq.setup()\n@dramatiq.actor(queue_name='q')\ndef job(): pass\n"
    )
    code, out, err = littleq("producer", "--module", app, "-q", "q", "--count", "2", "--url", away)
    assert (code, out) == (2, "")
    assert err.endswith("is away (Connection refused): start it, or name another with --url.\n")


def backend_at(url: str) -> Backend:
    return backend_for(build_broker(Config(url=url)))


def test_a_scrape_goes_on_and_says_that_the_broker_cannot_be_read(
    away: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = Config(url=away, queues={"q": SLAQueueConfig("q")})
    collector = FleetCollector(
        config,
        ledger=Source("ledger", MemoryLedger),
        broker=Source("broker", lambda: backend_at(away).inspector, 8.0),
    )
    up, *rest = collector.collect()
    assert {sample.labels["source"]: sample.value for sample in up.samples} == {
        "ledger": 1.0,
        "broker": 0.0,
        "page": 1.0,
    }
    assert rest
    (said,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "is away (Connection refused)" in said and "hunter2" not in said


def test_a_controller_that_sees_nothing_sends_nobody_away(away: str) -> None:
    fleet = Fleet()
    first = fleet.controller("first")
    fleet.run(120, first)
    before = fleet.decision()
    assert before is not None and before.desired_workers > 0
    first.close()
    blind = Controller(
        fleet.config, fleet.ledger, Source("broker", lambda: backend_at(away), 8.0), fleet.clock, "blind"
    )
    fleet.clock.advance(5.0)
    assert blind.tick().outcome == "decided"
    found = fleet.decision()
    assert found is not None and found.decision.regime == "blind"
    assert found.desired_workers == before.desired_workers


def test_a_job_that_meets_the_outage_is_tried_again(away: str) -> None:
    """An actor may read queues itself."""
    backend = backend_at(away)
    with pytest.raises(BrokerUnavailable) as caught:
        backend.inspector.truth(["q"])
    assert backend.is_transient(caught.value)
    assert not backend.is_transient(KeyError("a bug of ours"))


def test_rabbitmq_refuses_a_user(rabbit: RabbitServer, littleq: Any) -> None:
    rabbit.run("add_user", "reader", "hunter2")
    rabbit.run("add_vhost", "closed")
    try:
        for address, says in (
            (
                f"amqp://guest:hunter2@127.0.0.1:{rabbit.port}",
                "refuses this user or its password: correct them",
            ),
            (f"amqp://guest:guest@127.0.0.1:{rabbit.port}/nowhere", "has no such virtual host"),
            (f"amqp://reader:hunter2@127.0.0.1:{rabbit.port}/closed", "does not let this user into it"),
        ):
            code, out, err = littleq("queue", "list", "--url", f"{address}?management=off")
            assert (code, out) == (2, "")
            assert says in err and err.count("\n") == 1
            assert f"127.0.0.1:{rabbit.port}" in err and "hunter2" not in err
        for user, rights in (("guest", ".*"), ("reader", "^$")):
            rabbit.run("set_permissions", "-p", "closed", user, *3 * [rights])
        url = f"amqp://reader:hunter2@127.0.0.1:{rabbit.port}/closed?management=off"
        with rabbit.channel(vhost="closed") as channel:
            channel.queue_declare("q.XQ")
            channel.basic_publish("", "q.XQ", b"a letter")
        with pytest.raises(BrokerUnavailable, match=r"refuses this user a right.*docs/rabbitmq\.md lists"):
            list(backend_at(url).dead_letters.letters("q"))
    finally:
        rabbit.run("delete_user", "reader")
        rabbit.run("delete_vhost", "closed")


def test_kafka_says_why_it_does_not_let_us_in(
    kafka_server: Tansu, littleq: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """librdkafka itself says only that the transport failed."""
    monkeypatch.setattr("littleq.backends.kafka.topics.ANSWER_SECONDS", 0.5)
    host = f"127.0.0.1:{kafka_server.port}"
    url = f"kafka://me:hunter2@{host}?security.protocol=SASL_PLAINTEXT&sasl.mechanism=PLAIN"
    code, out, err = littleq("queue", "list", "--url", url)
    assert (code, out) == (2, "")
    assert f"kafka://{host} refuses these credentials (" in err and "SASL" in err
    assert err.count("\n") == 1 and "hunter2" not in err


def test_a_server_that_says_nothing_does_not_answer(littleq: Any) -> None:
    """pika has a class of its own for that, which is none of its connection errors."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        code, out, err = littleq("queue", "list", "--url", f"amqp://{host}?stack_timeout=1")
    assert (code, out) == (2, "")
    assert err == (
        f"littleq: The RabbitMQ server at amqp://{host} does not answer: start it, or name another with --url.\n"
    )
