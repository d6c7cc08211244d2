"""What the demo starts: an embedded server, maybe one of another broker, and pools of workers with an exporter beside.

All of it lives in a new folder, on a free port, with no LITTLEQ_* variable of the user's: the user's own
server is not touched, and each demo starts from zero.

Who ends them. The pool's processes hang on a leash that this process holds (`littleq.autoscale.pool.leash`), the
embedded server on its guardian, which stops it when its last user is gone, another one on a pipe. All notice by
themselves when this process is killed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from examples.demo.meter import Meter
from examples.demo.servers import MOST_WORKERS, Server
from examples.demo.stopping import StopSwitch
from littleq.backends.redis.embedded import connect_embedded

if TYPE_CHECKING:
    from littleq.autoscale.pool.local import LocalPool

ROOT = Path(__file__).parents[2]
MODULE = "examples.demo.app"
QUEUES = ("realtime", "batch")
#: Until the workers are there, in seconds. A second or two where nothing else runs.
BOOT_SECONDS = 30.0
#: How long workers may finish their jobs, and after what time they are killed, in seconds.
SHUTDOWN_SECONDS, GRACE_SECONDS = 5.0, 8.0
#: How often each process sends its counts, in seconds: oftener than by default, so that the screen is fresh.
FLUSH_SECONDS = 0.25
#: The promise of `realtime` in the demo: 95 % start within 3 s. A process takes a second to start here and the
#: controller decides each second, so a burst can be met after it has begun, and need not be paid for before.
SETTINGS = {
    "LITTLEQ_FLUSH_SECONDS": str(FLUSH_SECONDS),
    "LITTLEQ_DECIDE_SECONDS": "1",
    "LITTLEQ_QUEUES__REALTIME__SLA_SECONDS": "3",
    "LITTLEQ_QUEUES__REALTIME__PERCENTILE": "95",
    "LITTLEQ_QUEUES__REALTIME__ARRIVAL_RATE": "30",
    "LITTLEQ_QUEUES__REALTIME__SERVICE_TIME_SECONDS": "0.15",
    "LITTLEQ_QUEUES__REALTIME__THREADS_PER_WORKER": "1",
    "LITTLEQ_QUEUES__REALTIME__STARTUP_SECONDS": "0.5",
    "LITTLEQ_QUEUES__REALTIME__MIN_WORKERS": "1",
    "LITTLEQ_QUEUES__REALTIME__MAX_WORKERS": str(MOST_WORKERS),
    "LITTLEQ_QUEUES__BATCH__THREADS_PER_WORKER": "2",
    "LITTLEQ_QUEUES__BATCH__MAX_WORKERS": "1",
}
#: How often the pool is looked after, in seconds.
STEP_SECONDS = 0.05
#: Last lines of the workers' log that are shown when they fail.
LOG_LINES = 12

#: Without the proxy that the environment may name.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class FleetError(Exception):
    """Something that the demo started does not work; the text may have several lines."""


class Fleet:
    """The processes of one demo. Makes its folder at once, and starts nothing by itself."""

    def __init__(self, switch: StopSwitch, broker: str = "redis") -> None:
        self.broker = broker
        self._server: Server | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="littleq-demo-")).resolve()
        self.data = self.folder / "data"
        self.log = self.folder / "workers.log"
        self.port = _free_port()
        self.metrics_url = f"http://127.0.0.1:{self.port}/metrics"
        self.pool: Pool | None = None
        self._switch = switch

    def take_environment(self) -> None:
        """Make this process, and what it starts, use the demo's own server, port and folders."""
        for name in [name for name in os.environ if name.startswith("LITTLEQ_")]:
            del os.environ[name]
        os.environ |= SETTINGS | {
            "LITTLEQ_CONFIG": str(ROOT / "littleq.toml"),
            "LITTLEQ_URL": f"embedded://{quote(str(self.data))}",
            "LITTLEQ_ACTORS_DIR": str(self.folder / "pictures"),
            "LITTLEQ_EXPORTER_HOST": "127.0.0.1",
            "LITTLEQ_EXPORTER_PORT": str(self.port),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        }
        if str(ROOT) not in sys.path:
            sys.path.insert(0, str(ROOT))

    def start_server(self) -> None:
        """Start the embedded server, of which this process becomes the first user, and the broker's if it is another.

        Raises:
            OSError: that one did not start.
        """
        connect_embedded(self.data)
        if self.broker != "redis":
            self._server = Server(self.broker, self.folder / self.broker)
            os.environ |= {
                "LITTLEQ_LEDGER_URL": os.environ["LITTLEQ_URL"],
                "LITTLEQ_URL": self._server.url,
                **self._server.environment,
            }

    def stop_server(self) -> None:
        """End the broker's server; the embedded one ends with its last user. May be called again."""
        if self._server is not None:
            self._server.stop()

    def start_pool(self, fixed: Mapping[str, int] | None = None) -> Pool:
        """Start a pool of workers, elastic but for the queues with a fixed number; returns at once."""
        from examples.demo.app import broker  # noqa: PLC0415  # binds to the server that the environment names
        from littleq.autoscale.pool.local import LocalPool  # noqa: PLC0415

        local = LocalPool(
            *(broker, [MODULE], QUEUES),
            grace=SHUTDOWN_SECONDS,
            fixed=fixed,
            decides=fixed is None,
            output=self._write,
        )
        self.pool = Pool(local)
        return self.pool

    def await_pool(self) -> int:
        """Wait until workers and exporter are there; how many samples the exporter's page has.

        Raises:
            FleetError: they take too long, or end.
        """
        deadline = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < deadline:
            self.check()
            if self.pool is not None and self.pool.is_ready:
                with (
                    contextlib.suppress(OSError, HTTPException),
                    _direct.open(self.metrics_url, timeout=5) as page,
                ):
                    return sum(1 for line in page.read().decode().splitlines() if not line.startswith("#"))
            self._switch.sleep(0.1)
        raise FleetError(
            f"After {BOOT_SECONDS:g} s there are no workers, no decision about them, or nothing at "
            f"{self.metrics_url}.{self._log_end()}"
        )

    def check(self) -> None:
        """Raise `FleetError` if workers end by themselves."""
        if self.pool is not None and self.pool.deaths:
            raise FleetError(f"A worker has ended by itself.{self._log_end()}")

    def stop_pool(self) -> None:
        """End workers and exporter; the workers finish the jobs that they are at. May be called again."""
        if self.pool is not None:
            self.pool.stop()

    def _write(self, line: str) -> None:
        with self.log.open("a") as log:
            log.write(f"{line}\n")

    def _log_end(self) -> str:
        """The worst lines of the workers' log and its last ones: flaky actors fill it as well."""
        with contextlib.suppress(OSError):
            lines = self.log.read_text(errors="replace").splitlines()
            shown = [line for line in lines[:-LOG_LINES] if "[CRITICAL]" in line] + lines[-LOG_LINES:]
            return "\n  ".join(["\nFrom their log:", *shown])
        return ""


class Pool:
    """A `LocalPool` that is looked after by a thread.

    Attributes:
        meter: counts the processes of `realtime`.
    """

    def __init__(self, local: LocalPool) -> None:
        self.meter = Meter()
        self._local, self._supervisor = local, local.supervisor
        self._crew = self._supervisor.crews[QUEUES[0]]
        self._thread = threading.Thread(target=self._look_after, name="demo-pool", daemon=True)
        local.start()
        self._thread.start()

    @property
    def is_ready(self) -> bool:
        """Whether all that is wanted takes jobs, and the first decision is there, where one is to come."""
        crews = self._supervisor.crews.values()
        is_decided = self._crew.is_fresh or not self._crew.group.scales
        return is_decided and all(crew.count("ready") >= (crew.target or 0) for crew in crews)

    @property
    def deaths(self) -> int:
        """Processes that ended unasked."""
        return sum(crew.deaths for crew in self._supervisor.crews.values())

    @property
    def ready(self) -> int:
        """Workers of `realtime` that take jobs."""
        return self._crew.count("ready")

    @property
    def wanted(self) -> int:
        """How many there shall be."""
        return self._crew.target or 0

    @property
    def reason(self) -> str:
        """Why."""
        return self._crew.reason

    def stop(self) -> None:
        """End all of it: gracefully, and after a while not."""
        if not self._supervisor.is_stopping:
            self._local.stop()
            self._supervisor.stop()
        self._thread.join(GRACE_SECONDS)
        if self._thread.is_alive():
            self._supervisor.kill()
            self._thread.join()

    def _look_after(self) -> None:
        try:
            while not self._supervisor.is_over:
                self._supervisor.step()
                self.meter.note(time.monotonic(), len(self._crew.processes))
                time.sleep(STEP_SECONDS)
        except Exception:
            logging.getLogger("demo").exception("The pool is looked after no more.")
            self._supervisor.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
