"""The endpoint over real sockets on 127.0.0.1, with hand-made numbers behind it."""

from __future__ import annotations

import http.client
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from littleq.backends.base import TruthTable
from littleq.cli.root import run
from littleq.config import Config
from littleq.errors import ConfigurationError
from littleq.server import exporter
from littleq.server.exporter import ListenError, MetricsServer, run_as_fork, serve_when_free

if TYPE_CHECKING:
    from .conftest import Fleet

DEADLINE = 10.0


def wait_for(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"not within {DEADLINE:g} s: {what}"
        time.sleep(0.01)


@contextmanager
def serving(server: MetricsServer) -> Iterator[MetricsServer]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(DEADLINE)
        server.server_close()


@pytest.fixture
def server(fleet: Fleet) -> Iterator[MetricsServer]:
    fleet.inspector.tables["realtime"] = TruthTable("realtime", ready=3)
    with serving(MetricsServer(fleet.collector, "127.0.0.1", 0)) as server:
        yield server


def request(server: MetricsServer, path: str, method: str = "GET", **headers: str) -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=DEADLINE)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, response.headers["Content-Type"], body


def taken_port() -> socket.socket:
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    return taken


def test_metrics_are_text_for_prometheus(server: MetricsServer) -> None:
    status, content_type, body = request(server, "/metrics")
    assert (status, content_type.partition(";")[0]) == (200, "text/plain")
    assert 'sla_queue_depth{queue="realtime"} 3.0\n' in body
    assert server.url == f"http://127.0.0.1:{server.server_port}/metrics"


def test_metrics_are_openmetrics_for_who_asks(server: MetricsServer) -> None:
    _, content_type, body = request(server, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith("# EOF\n")


def test_nothing_of_this_process_is_in_them(server: MetricsServer) -> None:
    _, _, body = request(server, "/metrics")
    assert not [
        line for line in body.splitlines() if not line.startswith(("sla_", "# HELP sla_", "# TYPE sla_"))
    ]


@pytest.mark.parametrize("path", ["/healthz", "/healthz/"])
def test_it_is_healthy_while_it_answers_even_without_ledger_and_broker(
    server: MetricsServer, fleet: Fleet, path: str
) -> None:
    fleet.ledger.error = fleet.inspector.error = OSError("no network")
    assert request(server, path)[::2] == (200, "ok\n")
    assert request(server, path, "HEAD")[::2] == (200, "")


@pytest.mark.parametrize("path", ["/", "/metric", "/metrics/more", "//"])
def test_elsewhere_there_is_nothing_but_a_hint(server: MetricsServer, path: str) -> None:
    status, _, body = request(server, path)
    assert status == 404
    assert "/metrics" in body
    assert "/healthz" in body


def test_a_scrape_that_hangs_holds_up_nobody(fleet: Fleet) -> None:
    inside, let_go = threading.Event(), threading.Event()

    def hang(*_: Any) -> None:
        inside.set()
        let_go.wait(DEADLINE)

    fleet.ledger.snapshot = hang  # type: ignore[assignment]
    with serving(MetricsServer(fleet.collector, "127.0.0.1", 0)) as server:
        slow = threading.Thread(target=request, args=(server, "/metrics"))
        slow.start()
        assert inside.wait(DEADLINE)
        assert request(server, "/healthz")[0] == 200
        let_go.set()
        slow.join(DEADLINE)


def test_a_client_that_hangs_up_early_is_no_noise(
    server: MetricsServer, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.server_port)) as client:
            client.sendall(b"GET /metrics HTTP/1.0\r\n")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert request(server, "/healthz")[0] == 200
    assert capfd.readouterr().err == ""


def test_a_taken_port_is_said_in_one_sentence(fleet: Fleet) -> None:
    with (
        taken_port() as taken,
        pytest.raises(ListenError, match=r"Port \d+ on 127.0.0.1 is in use") as caught,
    ):
        MetricsServer(fleet.collector, "127.0.0.1", taken.getsockname()[1])
    assert caught.value.in_use


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host"])
def test_a_foreign_address_is_said_in_one_sentence(fleet: Fleet, host: str) -> None:
    with pytest.raises(ListenError, match=f"Cannot listen on {host}, port 0") as caught:
        MetricsServer(fleet.collector, host, 0)
    assert not caught.value.in_use


def test_two_exporters_never_share_a_port(server: MetricsServer, fleet: Fleet) -> None:
    with pytest.raises(ListenError):
        MetricsServer(fleet.collector, "127.0.0.1", server.server_port)


def test_it_listens_on_ipv6(fleet: Fleet) -> None:
    try:
        server = MetricsServer(fleet.collector, "::1", 0)
    except ListenError:
        pytest.skip("this machine has no IPv6 loopback")
    with server:
        assert server.url == f"http://[::1]:{server.server_port}/metrics"


def test_a_fork_waits_for_its_port_says_so_once_and_takes_over(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "littleq.server.exporter")
    tries: list[bool] = []
    wanted = threading.Event()
    wanted.set()

    def is_wanted() -> bool:
        tries.append(True)
        return wanted.is_set()

    with taken_port() as taken:
        port = taken.getsockname()[1]
        fork = threading.Thread(
            target=serve_when_free,
            args=(fleet.collector, "127.0.0.1", port),
            kwargs={"is_wanted": is_wanted, "retry_seconds": 0.01},
        )
        fork.start()
        wait_for(lambda: len(tries) > 5, "five tries")
    wait_for(lambda: "Serving" in caplog.text, "the port taken over")
    wanted.clear()
    fork.join(DEADLINE)
    assert not fork.is_alive()
    waiting, serving_ = (record for record in caplog.records)
    assert (waiting.levelname, serving_.levelname) == ("INFO", "INFO")
    assert waiting.getMessage().startswith(
        f"Port {port} on 127.0.0.1 is in use, most likely by another exporter"
    )


def test_a_fork_outlives_any_failure_of_the_server(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([True, True, False])

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(exporter, "serve_metrics", broken)
    assert (
        serve_when_free(fleet.collector, "127.0.0.1", 0, is_wanted=lambda: next(answers), retry_seconds=0)
        == 0
    )
    assert caplog.text.count("The metrics exporter failed.") == 2


def test_a_fork_without_a_usable_configuration_ends_quietly(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def wrong() -> Config:
        raise ConfigurationError("url is 7: give a URL.")

    monkeypatch.setattr(exporter, "_configuration", wrong)
    assert run_as_fork() == 1
    assert "The metrics exporter does not start: url is 7: give a URL." in caplog.text


def test_a_fork_that_is_switched_off_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "_configuration", lambda: Config(exporter_enabled=False))
    assert run_as_fork() == 0


def test_a_fork_can_be_found_by_dramatiq() -> None:
    """Dramatiq sends `module:name` to its main process, which imports it."""
    assert f"{run_as_fork.__module__}:{run_as_fork.__name__}" == "littleq.server.exporter:run_as_fork"


@pytest.fixture
def own_sigterm() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("own_sigterm")
def test_as_a_command_a_taken_port_is_one_sentence_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    with taken_port() as taken:
        code = run(["exporter", "--redis", "127.0.0.1:1", "--port", str(taken.getsockname()[1])])
    told = capsys.readouterr().err
    assert code == 2
    assert told.startswith("littleq: Port")
    assert told.count("\n") == 1
