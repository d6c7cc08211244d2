"""The metrics endpoint: `littleq exporter`, and a fork of `dramatiq`.

    GET /metrics   the fleet's numbers, for Prometheus
    GET /healthz   200 while this process answers; `sla_up` in /metrics tells of ledger and broker
    GET /api/v1/…  the decisions as JSON: `littleq.server.api`

All exporters of a fleet show the same page, so one that finds its port taken has nothing to add: the fork
waits, and takes over when the port becomes free. Nothing is encrypted here, and only the API asks for a token:
bind it to where only Prometheus and KEDA come.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import socketserver
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from littleq.config.sources import load_config
from littleq.errors import LittleQError
from littleq.metrics.collector import FleetCollector, collector_for
from littleq.server import api

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from littleq.config import Config

logger = logging.getLogger(__name__)

#: How often a fork tries again for a port that is taken, in seconds.
RETRY_SECONDS = 3.0
#: A client that sends nothing for this long is hung up on, in seconds.
CLIENT_SECONDS = 10.0

HINT = "Nothing is here. Metrics are at /metrics, a liveness check is at /healthz, decisions are at /api/v1/queues.\n"


class ListenError(LittleQError):
    """The endpoint's address cannot be bound; `in_use` tells whether another process has it."""

    def __init__(self, message: str, *, in_use: bool) -> None:
        super().__init__(message)
        self.in_use = in_use


class NotWantedError(Exception):
    """The server's owner has no more use for it."""


def application(collector: FleetCollector, decisions: WSGIApplication | None = None) -> WSGIApplication:
    """The WSGI application: /metrics, /healthz and, if there is one, the API of `decisions`."""
    registry = CollectorRegistry()  # not the global one: what this very process uses is not the fleet's
    registry.register(collector)
    metrics: WSGIApplication = make_wsgi_app(registry)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "").rstrip("/")
        if path == "/metrics":
            return metrics(environ, start_response)
        if decisions is not None and path.startswith(api.PREFIX):
            return decisions(environ, start_response)
        status, body = ("200 OK", "ok\n") if path == "/healthz" else ("404 Not Found", HINT)
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [b"" if environ.get("REQUEST_METHOD") == "HEAD" else body.encode()]

    return app


class _Handler(WSGIRequestHandler):
    timeout = CLIENT_SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        """Prometheus asks every few seconds: not worth a line."""


class MetricsServer(socketserver.ThreadingMixIn, WSGIServer):
    """A thread per request, so that a slow scrape holds up neither another one nor the liveness check.

    Args:
        collector: what /metrics shows.
        host: name or address to listen on, IPv4 or IPv6.
        port: 0 for any free one; `url` tells which.
        is_wanted: asked twice a second by `serve_forever`, which raises `NotWantedError` when it says no.
        decisions: the JSON API, if it shall be there.

    Raises:
        ListenError: the address is taken, not ours, or not allowed.
    """

    daemon_threads = True
    # One port, one exporter: with SO_REUSEPORT two of them would share it without noticing.
    allow_reuse_port = False

    def __init__(
        self,
        collector: FleetCollector,
        host: str,
        port: int,
        is_wanted: Callable[[], bool] = lambda: True,
        decisions: WSGIApplication | None = None,
    ) -> None:
        self._is_wanted = is_wanted
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            self.address_family, address = found[0][0], found[0][4]
            super().__init__((str(address[0]), port), _Handler)
        except OSError as error:
            raise _cannot_listen(host, port, error) from None
        self.set_app(application(collector, decisions))

    def server_bind(self) -> None:
        """Without the reverse look-up of the host name in `HTTPServer`: seconds in some containers."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def service_actions(self) -> None:
        if not self._is_wanted():
            raise NotWantedError

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Called inside `except`. A client that went away is no error of ours."""
        logger.debug("A request from %s failed.", client_address, exc_info=True)

    @property
    def url(self) -> str:
        """Where the metrics are."""
        host = f"[{self.server_name}]" if ":" in self.server_name else self.server_name
        return f"http://{host}:{self.server_port}/metrics"


def serve_metrics(
    collector: FleetCollector,
    host: str,
    port: int,
    *,
    announce: Callable[[str], object] | None = None,
    is_wanted: Callable[[], bool] = lambda: True,
    decisions: WSGIApplication | None = None,
) -> None:
    """Serve until it is not wanted any more, or a signal handler raises; the port is free afterwards.

    Args:
        announce: called with the URL once the port is bound.

    Raises:
        ListenError: as in `MetricsServer`.
    """
    with MetricsServer(collector, host, port, is_wanted, decisions) as server:
        if announce is not None:
            announce(server.url)
        with suppress(NotWantedError):
            server.serve_forever()


def run_as_fork() -> int:
    """The exporter inside `dramatiq`, for `Middleware.forks`.

    The fork comes from Dramatiq's main process, which never imports the app. So it cannot see a configuration
    that was given in Python: its broker, ledger, host and port come from littleq.toml or LITTLEQ_* variables,
    the default being `embedded://`. What the queues promise it reads from the ledger, where the workers
    publish it.

    Never raises; SIGTERM ends it, by the handler that Dramatiq installs, and so does the end of the main
    process.
    """
    parent = os.getppid()
    try:
        config = _configuration()
    except Exception as error:  # no configuration, no exporter; the workers must not notice
        logger.error("The metrics exporter does not start: %s", error)
        return 1
    if not config.exporter_enabled:
        return 0
    return serve_when_free(
        collector_for(config),
        config.exporter_host,
        config.exporter_port,
        # Else the main process was killed, and nobody would ever stop us.
        is_wanted=lambda: os.getppid() == parent,
        decisions=api.api_for(config),
    )


def serve_when_free(
    collector: FleetCollector,
    host: str,
    port: int,
    *,
    is_wanted: Callable[[], bool] = lambda: True,
    retry_seconds: float = RETRY_SECONDS,
    decisions: WSGIApplication | None = None,
) -> int:
    """Serve; while the port is taken, wait for it. Says so once, not each time.

    Returns:
        0, once it is not wanted any more.
    """
    told = False

    def announce(url: str) -> None:
        nonlocal told
        told = False
        logger.info("Serving the fleet's metrics on %s.", url)

    while is_wanted():
        try:
            serve_metrics(collector, host, port, announce=announce, is_wanted=is_wanted, decisions=decisions)
            continue
        except ListenError as error:
            if not told:
                level = logging.INFO if error.in_use else logging.WARNING
                logger.log(level, "%s Trying again every %g s.", error, retry_seconds)
            told = True
        except Exception:
            logger.exception("The metrics exporter failed. Trying again in %g s.", retry_seconds)
        time.sleep(retry_seconds)
    return 0


def _configuration() -> Config:
    """That of the stack installed in this process, if there is one; else files and environment."""
    return load_config()


def _cannot_listen(host: str, port: int, error: OSError) -> ListenError:
    if error.errno == errno.EADDRINUSE:
        return ListenError(
            f"Port {port} on {host} is in use, most likely by another exporter, which serves the same "
            "numbers: leave it to that one, or choose another port.",
            in_use=True,
        )
    reason = error.strerror or str(error)
    return ListenError(
        f"Cannot listen on {host}, port {port} ({reason}): choose an address of this machine and a port "
        "that you may use.",
        in_use=False,
    )
