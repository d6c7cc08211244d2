"""The scaler as a server: its port, its TLS, its end."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from littleq.autoscale.keda import protocol
from littleq.autoscale.keda.scaler import Scaler
from littleq.autoscale.keda.watch import Lookout, Watch
from littleq.errors import ConfigurationError

#: A client that is gone without a word is noticed after so long, in milliseconds; KEDA's own pings are let through.
_OPTIONS = [
    ("grpc.so_reuseport", 0),  # two scalers on one port would share it without noticing
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
]
#: Calls may take so long at the end, in seconds; streams end at once, and KEDA opens them again elsewhere.
GRACE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class TLS:
    """Files in PEM, read again when they change: certificates are renewed while the server runs.

    Attributes:
        certificate: the server's, with its chain.
        key: its private key.
        client_ca: whose clients are let in, and no others; None: any client.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def stamp(self) -> tuple[int, ...]:
        """Changes with the files."""
        found: list[int] = []
        for path in self._paths():
            status = path.stat()
            found += (status.st_mtime_ns, status.st_ino, status.st_size)
        return tuple(found)

    def read(self) -> Any:
        """gRPC's configuration of them.

        Raises:
            ConfigurationError: a file cannot be read, or they do not belong together.
        """
        contents = []
        for path in self._paths():
            try:
                contents.append(path.read_bytes())
            except OSError as error:
                raise ConfigurationError(
                    f"{path} cannot be read ({error.strerror or error}): name a file in PEM that this process may read."
                ) from None
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(
                self.certificate, self.key, password=lambda: ""
            )  # else it asks the terminal
            if self.client_ca is not None:
                context.load_verify_locations(self.client_ca)
        except (ssl.SSLError, OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or str(error) or "no certificate in it"
            raise ConfigurationError(
                f"{' and '.join(map(str, self._paths()))} are no certificate, key and CA that belong together "
                f"({reason}): give the PEM files of one certificate."
            ) from None
        ca = contents[2] if self.client_ca is not None else None
        return grpc.ssl_server_certificate_configuration([(contents[1], contents[0])], ca)

    def _paths(self) -> list[Path]:
        return [path for path in (self.certificate, self.key, self.client_ca) if path is not None]


def credentials(tls: TLS) -> Any:
    """Server credentials that follow the files; a renewal that is half written is passed over until it is whole.

    Raises:
        ConfigurationError: as `TLS.read`.
    """
    seen = tls.stamp() if all(path.exists() for path in tls._paths()) else ()
    first = tls.read()

    def renewed() -> Any:
        nonlocal seen
        try:
            stamp = tls.stamp()
            if stamp == seen:
                return None
            fresh = tls.read()
        except (OSError, ConfigurationError):
            return None
        seen = stamp
        return fresh

    return grpc.dynamic_ssl_server_credentials(
        first, renewed, require_client_authentication=tls.client_ca is not None
    )


async def serve(
    lookout: Lookout,
    host: str,
    port: int,
    *,
    tls: TLS | None = None,
    announce: Callable[[str], object],
    until: asyncio.Event | None = None,
) -> None:
    """Serve until SIGTERM, SIGINT, or `until` is set.

    Args:
        port: 0 for any free one.
        announce: called with the address once it listens.

    Raises:
        ConfigurationError: the address cannot be had, or the TLS files are not good.
    """
    ended = until or asyncio.Event()
    if until is None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
    watch = Watch(lookout)
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers((Scaler(watch).handlers(),))
    told = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(told, server)
    address = _listen(server, host, port, tls)
    looking, ending = asyncio.create_task(watch.run()), asyncio.create_task(ended.wait())
    await server.start()
    for service in ("", protocol.SERVICE):
        await told.set(service, health_pb2.HealthCheckResponse.SERVING)
    announce(address)
    try:
        await asyncio.wait({ending, looking}, return_when=asyncio.FIRST_COMPLETED)
        if looking.done():
            looking.result()  # a bug of ours: better no scaler than one that sees nothing
    finally:
        await told.enter_graceful_shutdown()
        await watch.close()
        await server.stop(GRACE_SECONDS)
        for task in (ending, looking):
            task.cancel()
        await asyncio.gather(ending, looking, return_exceptions=True)


def _listen(server: grpc.aio.Server, host: str, port: int, tls: TLS | None) -> str:
    """Bind the port; the address."""
    name = f"[{host}]" if ":" in host else host
    secured = None if tls is None else credentials(tls)
    try:
        if secured is None:
            bound = server.add_insecure_port(f"{name}:{port}")
        else:
            bound = server.add_secure_port(f"{name}:{port}", secured)
    except RuntimeError:
        raise ConfigurationError(
            f"Cannot listen on {host}, port {port}: choose an address of this machine and a port that is free."
        ) from None
    return f"{name}:{bound}"
