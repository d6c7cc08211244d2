"""What Dramatiq's test-suite needs and its sdist leaves out, with LittleQ on every broker.

The sdist carries `tests/test_*.py` without their conftest, so the fixtures and helpers that they name are written here, to
what the tests say about them. The unpacked tree gets two files of ours, which call into this module:

    tests/__init__.py   `prepare()`: runs in pytest and in every `dramatiq tests.test_cli:broker` that a test starts
    tests/common.py     the helpers that the tests import from it

pytest loads the module with `-p dramatiq_plugin`. Its environment:

    CONFORMANCE_REDIS_PORT  the private server, which stands in for port 6379
    CONFORMANCE_REPORT      a file that gets one JSON line per test
    CONFORMANCE_PLAIN       if set, LittleQ stays away: the baseline
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from types import ModuleType
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

TREE_FILES = {
    "tests/__init__.py": "from dramatiq_plugin import prepare\n\nprepare()\n",
    "tests/common.py": "from dramatiq_plugin import RABBITMQ_CREDENTIALS, skip_in_ci, skip_on_pypy, skip_on_windows, worker\n",
}
REDIS_PORT = 6379
#: Their longest test takes 20 s.
TEST_SECONDS = 60
#: What the stack reports about itself: one more line for each test.
_installs = 0


def prepare() -> None:
    """Point Redis clients at the private server, and put LittleQ on every broker that this process makes."""
    _redirect_redis(int(os.environ["CONFORMANCE_REDIS_PORT"]))
    _stand_in_for_rabbitmq()
    if not os.environ.get("CONFORMANCE_PLAIN"):
        for broker_class in (StubBroker, RedisBroker):
            _install_on_every(broker_class)


def _redirect_redis(port: int) -> None:
    """Clients that mean Redis' own port get `port`: below the pool, so that a URL, a host or nothing lead there."""
    connect = redis.Connection.__init__

    @wraps(connect)
    def redirected(self: redis.Connection, *args: Any, **options: Any) -> None:
        if options.get("port", REDIS_PORT) == REDIS_PORT:
            options["port"] = port
        connect(self, *args, **options)

    redis.Connection.__init__ = redirected  # type: ignore[method-assign]


def _stand_in_for_rabbitmq() -> None:
    """`test_broker` imports the RabbitMQ broker, which imports pika. Its RabbitMQ tests are not run."""

    class RabbitmqBroker:
        def __init__(self, **options: Any) -> None:
            raise ImportError("a stand-in")  # Dramatiq's sign for a missing pika

    module = ModuleType("dramatiq.brokers.rabbitmq")
    module.RabbitmqBroker = RabbitmqBroker  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module


def _install_on_every(broker_class: type[Any]) -> None:
    construct = broker_class.__init__

    @wraps(construct)
    def constructed(self: Any, *args: Any, **options: Any) -> None:
        global _installs
        construct(self, *args, **options)
        install(self, Config(exporter_enabled=False, queues={}), ledger=MemoryLedger())
        _installs += 1

    broker_class.__init__ = constructed


# --- what the tests import from tests/common.py -------------------------------------------------------------------------

skip_in_ci = pytest.mark.skipif(False, reason="for Dramatiq's CI")
skip_on_pypy = pytest.mark.skipif(sys.implementation.name == "pypy", reason="no time limits on PyPy")
skip_on_windows = pytest.mark.skipif(os.name == "nt", reason="no such thing on Windows")
RABBITMQ_CREDENTIALS = None


@contextmanager
def worker(*args: Any, **options: Any) -> Iterator[Worker]:
    started = Worker(*args, **options)
    started.start()
    try:
        yield started
    finally:
        started.stop()


# --- fixtures -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def stub_broker() -> Iterator[StubBroker]:
    broker = StubBroker()
    broker.emit_after("process_boot")  # time limits work from here on
    dramatiq.set_broker(broker)
    yield broker
    broker.flush_all()
    broker.emit_before("process_stop")
    broker.close()


@pytest.fixture
def redis_broker() -> Iterator[RedisBroker]:
    broker = RedisBroker()
    broker.client.flushall()
    broker.emit_after("process_boot")
    dramatiq.set_broker(broker)
    yield broker
    broker.client.flushall()
    broker.emit_before("process_stop")
    broker.close()


@pytest.fixture
def stub_worker(stub_broker: StubBroker) -> Iterator[Worker]:
    with worker(stub_broker, worker_timeout=100, worker_threads=32) as started:
        yield started


@pytest.fixture
def redis_worker(redis_broker: RedisBroker) -> Iterator[Worker]:
    with worker(redis_broker, worker_threads=32) as started:
        yield started


@pytest.fixture(params=["redis", "stub"])
def rate_limiter_backend(request: pytest.FixtureRequest) -> Any:
    return _flushed(rate_limits.RedisBackend()) if request.param == "redis" else rate_limits.StubBackend()


@pytest.fixture(params=["redis", "stub"])
def result_backend(request: pytest.FixtureRequest) -> Any:
    return _flushed(results.RedisBackend()) if request.param == "redis" else results.StubBackend()


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


# --- report -------------------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Some of their tests join a queue without a time-out; a lost job must not stop the suite."""

    def give_up(*_: Any) -> None:
        raise TimeoutError(f"no end within {TEST_SECONDS} s")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(TEST_SECONDS)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    line = {
        "test": report.nodeid.removeprefix("tests/"),
        "when": report.when,
        "outcome": report.outcome,
        "seconds": report.duration,
        "details": report.longreprtext,
        "installs": _installs,
    }
    with Path(os.environ["CONFORMANCE_REPORT"]).open("a") as out:
        out.write(json.dumps(line) + "\n")
