"""What Dramatiq's test-suite needs and its sdist leaves out, with LittleQ on every broker.

The sdist carries `tests/test_*.py` without their conftest, so the fixtures and helpers that they name are
written here, to what the tests say about them. pytest loads this module with `-p dramatiq_plugin`. The
unpacked tree's `tests/__init__.py` calls `prepare`: in pytest, and in each process that a test starts with
`python -m dramatiq tests.test_cli:broker`.

The environment:

    CONFORMANCE_REDIS_PORT  the private server, which stands in for port 6379
    CONFORMANCE_REPORT      a file that gets a JSON line for each test, and for each process with LittleQ in it
    CONFORMANCE_BROKER      `ours`: LittleQ's RedisBroker stands in for Dramatiq's
    CONFORMANCE_PLAIN       if set, LittleQ stays away: the baseline
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import dramatiq
import pytest
import redis
from dramatiq import Worker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.rate_limits import backends as rate_limits
from dramatiq.results import backends as results

from littleq.config import Config
from littleq.ledger.memory import MemoryLedger
from littleq.stack import install

PLAIN = "CONFORMANCE_PLAIN" in os.environ
if os.environ.get("CONFORMANCE_BROKER") == "ours":
    from littleq.backends.redis import RedisBroker  # type: ignore[assignment]

    dramatiq.brokers.redis.RedisBroker = RedisBroker  # type: ignore[misc]
REDIS_PORT = 6379
#: A job that is lost would keep some of their tests waiting for ever; their longest takes half of this.
TEST_SECONDS = 60
#: How much longer than theirs our machines may take to start processes.
PATIENCE = 3

_reported_process = 0
#: What LittleQ logged as an error during the test that runs.
_complaints: list[str] = []


def prepare() -> None:
    """Point Redis clients at the private server, and put LittleQ on every broker that this process makes."""
    _redirect_redis(int(os.environ["CONFORMANCE_REDIS_PORT"]))
    _stand_in_for_rabbitmq()
    if not PLAIN:
        for broker_class in (StubBroker, RedisBroker):
            _install_on_every(broker_class)


def _redirect_redis(port: int) -> None:
    """Clients that mean Redis' own port get `port`: below the pool, where a URL, a host and nothing meet."""
    connect = redis.Connection.__init__

    @wraps(connect)
    def redirected(self: redis.Connection, *args: Any, **options: Any) -> None:
        if options.get("port", REDIS_PORT) == REDIS_PORT:
            options["port"] = port
        connect(self, *args, **options)

    redis.Connection.__init__ = redirected  # type: ignore[method-assign]


def _stand_in_for_rabbitmq() -> None:
    """`test_broker` imports the RabbitMQ broker, which imports pika. Its tests of RabbitMQ are left out."""

    class RabbitmqBroker:
        def __init__(self, **options: Any) -> None:
            raise ImportError(
                "a stand-in"
            )  # `get_broker` takes it for a missing pika and makes a RedisBroker

    module = ModuleType("dramatiq.brokers.rabbitmq")
    module.RabbitmqBroker = RabbitmqBroker  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module


def _install_on_every(broker_class: type[Any]) -> None:
    construct = broker_class.__init__

    @wraps(construct)
    def constructed(self: Any, *args: Any, **options: Any) -> None:
        global _reported_process
        construct(self, *args, **options)
        install(self, Config(exporter_enabled=False, queues={}), ledger=MemoryLedger())
        if _reported_process != os.getpid():
            _reported_process = os.getpid()
            _report(process=_reported_process)

    broker_class.__init__ = constructed


def _report(**line: Any) -> None:
    with Path(os.environ["CONFORMANCE_REPORT"]).open("a", encoding="utf-8") as out:
        out.write(json.dumps(line) + "\n")


# What the tests import from tests/common.py.

__all__ = ["RABBITMQ_CREDENTIALS", "skip_in_ci", "skip_on_pypy", "skip_on_windows", "worker"]

RABBITMQ_CREDENTIALS = None
skip_in_ci = pytest.mark.skipif(False, reason="Dramatiq's CI is too slow for it")
skip_on_pypy = pytest.mark.skipif(sys.implementation.name == "pypy", reason="PyPy has no time limits")
skip_on_windows = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")


@contextmanager
def worker(*args: Any, **options: Any) -> Iterator[Worker]:
    started = Worker(*args, **options)
    started.start()
    try:
        yield started
    finally:
        started.stop()


# Fixtures, by the names that the tests use.


@pytest.fixture
def stub_broker() -> Iterator[StubBroker]:
    with _in_use(StubBroker()) as broker:
        yield broker
        broker.flush_all()


@pytest.fixture
def redis_broker() -> Iterator[RedisBroker]:
    broker = RedisBroker()
    broker.client.flushall()
    with _in_use(broker):
        yield broker
        broker.client.flushall()


@contextmanager
def _in_use(broker: Any) -> Iterator[Any]:
    assert PLAIN or broker.littleq_gate
    broker.emit_after("process_boot")  # starts the clock of time limits
    dramatiq.set_broker(broker)
    yield broker
    broker.emit_before("process_stop")
    broker.close()


@pytest.fixture
def stub_worker(stub_broker: StubBroker) -> Iterator[Worker]:
    with worker(stub_broker, worker_timeout=100, worker_threads=32) as started:
        yield started


@pytest.fixture
def redis_worker(redis_broker: RedisBroker) -> Iterator[Worker]:
    with worker(redis_broker, worker_timeout=100, worker_threads=32) as started:
        yield started


@pytest.fixture(params=["redis", "stub"])
def rate_limiter_backend(request: pytest.FixtureRequest) -> Any:
    if request.param == "redis":
        return _flushed(rate_limits.RedisBackend())
    return rate_limits.StubBackend()


@pytest.fixture(params=["redis", "stub"])
def result_backend(request: pytest.FixtureRequest) -> Any:
    if request.param == "redis":
        return _flushed(results.RedisBackend())
    return results.StubBackend()


@pytest.fixture
def redis_result_backend() -> Any:
    return _flushed(results.RedisBackend())


def _flushed(backend: Any) -> Any:
    backend.client.flushall()
    return backend


@pytest.fixture
def start_cli() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(broker: str, *, extra_args: Any = (), **options: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-m", "dramatiq", broker, *extra_args], **options)
        started.append(process)
        return process

    yield start
    for process in started:
        process.terminate()
        process.wait(30)


@pytest.fixture(autouse=True)
def _patience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their tests of the command line give processes a second or two to start: not enough on a busy machine."""
    if request.module.__name__.endswith("test_cli"):
        patient = SimpleNamespace(sleep=lambda seconds: time.sleep(PATIENCE * seconds))
        monkeypatch.setattr(request.module, "time", patient)


# Running and reporting.


class _Complaints(logging.Handler):
    """Errors of LittleQ that Dramatiq or LittleQ itself catches and logs: no test of theirs would notice."""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        hook_failed = "Unexpected failure in" in text and "littleq" in text
        if record.name.startswith("littleq") or hook_failed or "Unhandled error during post_process" in text:
            _complaints.append(f"{record.name}: {text}")


def pytest_configure() -> None:
    logging.getLogger().addHandler(_Complaints(logging.ERROR))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    def give_up(*_: Any) -> None:
        raise TimeoutError(f"no end within {TEST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(TEST_SECONDS)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    printed = f"{report.capstdout}{report.capstderr}" if report.failed else ""  # also by processes it started
    _report(
        test=report.nodeid.removeprefix("tests/"),
        outcome=report.outcome,
        seconds=report.duration,
        details=f"{report.longreprtext}\n{printed}".strip(),
        complaints=_complaints[:],
    )
    _complaints.clear()
