"""KEDA's side of its external scaler protocol: a client compiled from a .proto file, and a `littleq scaler` to call."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import grpc

from tests.support import ROOT

COMMAND = "from littleq.cli import main; main()"
FOLDER = Path(__file__).parent


@cache
def compiled() -> tuple[Any, Any]:
    """The messages and the stub, as grpcio-tools make them of the .proto file."""
    sys.path.insert(0, str(FOLDER))  # where protoc looks
    try:
        return grpc.protos_and_services("externalscaler.proto")
    finally:
        sys.path.remove(str(FOLDER))


class Stream:
    """What a StreamIsActive has pushed."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.pushed: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self) -> None:
        with suppress(grpc.RpcError):
            for response in self.call:
                self.pushed.put(response.result)

    def next(self, seconds: float = 10.0) -> bool:
        return self.pushed.get(timeout=seconds)

    def is_quiet(self, seconds: float) -> bool:
        """Nothing is pushed for so long."""
        try:
            self.pushed.get(timeout=seconds)
        except queue.Empty:
            return True
        return False

    def close(self) -> None:
        self.call.cancel()
        self.thread.join(10)


class Client:
    """Calls a scaler as KEDA does."""

    def __init__(self, address: str, credentials: Any = None) -> None:
        self.messages, services = compiled()
        options = (("grpc.ssl_target_name_override", "localhost"),) if credentials else ()
        self.channel = (
            grpc.secure_channel(address, credentials, options=options)
            if credentials
            else grpc.insecure_channel(address)
        )
        self.stub = services.ExternalScalerStub(self.channel)

    def ref(self, queue: str = "q", **metadata: str) -> Any:
        named = {"queue": queue, "scalerAddress": "littleq-scaler:6000", **metadata}
        return self.messages.ScaledObjectRef(name="worker", namespace="default", scalerMetadata=named)

    def is_active(self, queue: str = "q", **metadata: str) -> bool:
        return bool(self.stub.IsActive(self.ref(queue, **metadata), timeout=10).result)

    def metric(self, queue: str = "q", **metadata: str) -> Any:
        asked = self.messages.GetMetricsRequest(
            scaledObjectRef=self.ref(queue, **metadata), metricName=f"littleq-{queue}"
        )
        (value,) = self.stub.GetMetrics(asked, timeout=10).metricValues
        return value

    def stream(self, queue: str = "q") -> Stream:
        return Stream(self.stub.StreamIsActive(self.ref(queue)))


@contextmanager
def scaler(folder: Path, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A `littleq scaler` of its own process, and where it listens."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LITTLEQ_")}
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "scaler", "--port", "0", *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert "Serving decisions to KEDA on " in line, line
        yield line.rpartition(" ")[2].strip(), process
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()
