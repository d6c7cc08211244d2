"""One table from URLs and classes to brokers; nothing is imported that is not used."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest
from dramatiq.brokers.redis import RedisBroker as DramatiqRedisBroker
from dramatiq.brokers.stub import StubBroker

import littleq
from littleq import backends
from littleq.backends import KINDS, backend_for, build_broker, kind_of
from littleq.backends.redis.urls import SCHEMES
from littleq.config import Config
from littleq.config.kinds import BROKERS, LEDGERS, NO_LEDGER
from littleq.errors import BackendError, ConfigurationError


def test_every_scheme_of_the_configuration_means_one_broker() -> None:
    schemes = [scheme for kind in KINDS for scheme in kind.schemes]
    assert sorted(schemes) == sorted(BROKERS)
    assert set(KINDS[0].schemes) == {"embedded", *SCHEMES}
    assert set(LEDGERS) == {"embedded", *SCHEMES, "stub", "memory"}
    assert {kind.name for kind in KINDS if set(kind.schemes) & set(NO_LEDGER)} == {"rabbitmq", "sqs", "kafka"}


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://db", "redis"),
        ("valkey+sentinel://a,b/main", "redis"),
        ("amqps://me:pw@rabbit/vhost", "rabbitmq"),
        ("sqs://eu-west-1?endpoint=http://127.0.0.1:5000", "sqs"),
        ("kafka://a:9092,b:9092?security.protocol=SSL", "kafka"),
        ("stub://", "stub"),
    ],
)
def test_the_scheme_says_which(url: str, name: str) -> None:
    kind = kind_of(url)
    assert kind is not None and kind.name == name
    Config(url=url)


def test_a_url_of_nobody_is_refused_with_all_that_there_are() -> None:
    config: Any = type("Config", (), {"url": "nats://me:hunter2@db"})
    with pytest.raises(
        ConfigurationError, match=r"'nats', which names no broker: use .*kafka:// or stub://\."
    ) as no:
        build_broker(config)
    assert "hunter2" not in str(no.value)


@pytest.mark.parametrize(
    ("url", "extra"),
    [("amqp://h", "rabbitmq"), ("amqps://h", "rabbitmq"), ("sqs://r", "sqs"), ("kafka://h", "kafka")],
)
def test_a_client_that_is_not_installed_is_named_with_its_extra(
    url: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(module: str) -> ModuleType:
        raise ModuleNotFoundError(f"No module named 'the_client' (for {module})", name="the_client")

    monkeypatch.setattr(backends, "import_module", missing)
    with pytest.raises(ConfigurationError) as no:
        build_broker(Config(url=url))
    assert "needs the package the_client" in str(no.value)
    assert f"pip install 'littleq[{extra}]'" in str(no.value)
    assert str(no.value).count(". ") == 0


def test_a_mistake_of_ours_is_not_taken_for_a_missing_client(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(module: str) -> ModuleType:
        raise ImportError("cannot import name 'x'", name=module)

    monkeypatch.setattr(backends, "import_module", broken)
    with pytest.raises(ImportError, match="cannot import name"):
        build_broker(Config(url="kafka://h"))


def module(monkeypatch: pytest.MonkeyPatch, place: str, name: str, *bases: type) -> type:
    """A class at some place, as if its module had been imported."""
    made = type(name, bases or (StubBroker.__mro__[1],), {"__module__": place})
    holder = ModuleType(place)
    setattr(holder, name, made)
    monkeypatch.setitem(sys.modules, place, holder)
    return made


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.stock], ids=lambda kind: kind.name)
def test_a_plain_broker_of_such_a_server_is_refused_and_ours_is_named(
    kind: backends.Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kind.stock is not None
    plain = module(monkeypatch, *kind.stock)
    with pytest.raises(BackendError) as no:
        littleq.install(plain(), Config())
    assert f"promises on {'.'.join(kind.stock)}: use {'.'.join(kind.broker)} in its place." in str(no.value)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.extra], ids=lambda kind: kind.name)
def test_ours_is_served_by_its_own_package_even_where_it_is_a_plain_one_too(
    kind: backends.Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    bases = (module(monkeypatch, *kind.stock),) if kind.stock else ()
    ours = module(monkeypatch, *kind.broker, *bases)()  # type: ignore[arg-type]
    package = sys.modules[kind.broker[0]]
    setattr(package, f"{kind.name}_backend", lambda broker: ("backend of", broker))
    setattr(package, f"build_{kind.name}_broker", lambda config: config.url)
    assert backend_for(ours) == ("backend of", ours)
    assert build_broker(Config(url=f"{kind.schemes[0]}://h")) == f"{kind.schemes[0]}://h"


def test_a_broker_of_nobody_is_refused_with_what_there_is() -> None:
    class Other(StubBroker.__mro__[1]):  # type: ignore[misc]
        pass

    with pytest.raises(BackendError, match=r"no backend for .*Other: use dramatiq.s RedisBroker") as no:
        backend_for(Other())
    assert "littleq.backends.kafka.KafkaBroker" in str(no.value)


def test_dramatiqs_own_redis_and_stub_are_served() -> None:
    assert backend_for(StubBroker()).name == "stub"
    assert backend_for(DramatiqRedisBroker(url="redis://127.0.0.1:1")).name == "redis"
    assert isinstance(build_broker(Config(url="stub://")), StubBroker)


def test_a_process_on_redis_imports_no_other_client() -> None:
    code = (
        "import sys, littleq; from littleq.config import Config; littleq.setup(Config(url='redis://127.0.0.1:1'));"
        "print(sorted({'pika', 'boto3', 'botocore', 'confluent_kafka', 'dramatiq_sqs'} & set(sys.modules)),"
        "sorted(m for m in sys.modules if m.startswith('littleq.backends.') and m.split('.')[2] in "
        "('rabbitmq', 'sqs', 'kafka', 'stub')))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert out.split() == ["[]", "[]"]
