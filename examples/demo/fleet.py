"""What the demo starts: an embedded server, two worker processes, and the exporter that Dramatiq forks.

All of it lives in a new folder, on a free port, with no LITTLEQ_* variable of the user's: the user's own
server is not touched, and each demo starts from zero.

Who ends them. The workers and the exporter hang on a watchdog (see there), the server on its guardian, which
stops it when its last user is gone. Both notice by themselves when this process is killed.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.parse import quote

from examples.demo.stopping import StopSwitch
from littleq.backends.redis.embedded import connect_embedded

ROOT = Path(__file__).parents[2]
PROCESSES, THREADS = 2, 4
#: Until the workers are there, in seconds. A second or two where nothing else runs.
BOOT_SECONDS = 30.0
#: How long workers may finish their jobs, and after what time the watchdog kills them, in seconds.
SHUTDOWN_SECONDS, GRACE_SECONDS = 5.0, 8.0
#: How often each process sends its counts, in seconds: oftener than by default, so that the screen is fresh.
FLUSH_SECONDS = 0.25
#: Last lines of the workers' log that are shown when they fail.
LOG_LINES = 12

#: Without the proxy that the environment may name.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class FleetError(Exception):
    """Something that the demo started does not work; the text may have several lines."""


class Fleet:
    """The processes of one demo. Makes its folder at once, and starts nothing by itself."""

    def __init__(self, switch: StopSwitch) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="littleq-demo-")).resolve()
        self.data = self.folder / "data"
        self.log = self.folder / "workers.log"
        self._switch = switch
        self._watchdog: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        self.metrics_url = f"http://127.0.0.1:{self.port}/metrics"

    def take_environment(self) -> None:
        """Make this process, and what it starts, use the demo's own server, port and folders."""
        for name in [name for name in os.environ if name.startswith("LITTLEQ_")]:
            del os.environ[name]
        os.environ |= {
            "LITTLEQ_CONFIG": str(ROOT / "littleq.toml"),
            "LITTLEQ_URL": f"embedded://{quote(str(self.data))}",
            "LITTLEQ_ACTORS_DIR": str(self.folder / "pictures"),
            "LITTLEQ_EXPORTER_HOST": "127.0.0.1",
            "LITTLEQ_EXPORTER_PORT": str(self.port),
            "LITTLEQ_FLUSH_SECONDS": str(FLUSH_SECONDS),
        }
        if str(ROOT) not in sys.path:
            sys.path.insert(0, str(ROOT))

    def start_server(self) -> None:
        """Start the embedded server; this process becomes its first user."""
        connect_embedded(self.data)

    def start_workers(self) -> None:
        """Start `dramatiq actors` on a leash; returns at once."""
        command = [
            sys.executable, "-m", "dramatiq", "actors", "--path", str(ROOT),
            "--processes", str(PROCESSES), "--threads", str(THREADS),
            "--worker-shutdown-timeout", str(round(SHUTDOWN_SECONDS * 1000)),
        ]  # fmt: skip
        watchdog = [sys.executable, "-S", str(Path(__file__).with_name("watchdog.py")), str(GRACE_SECONDS)]
        with self.log.open("wb") as log:
            self._watchdog = subprocess.Popen(
                [*watchdog, *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C is for us to hear, and to tell
            )

    def await_workers(self) -> int:
        """Wait until the exporter says that all workers are there; how many samples its page has.

        Raises:
            FleetError: the workers ended, or took too long.
        """
        deadline = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < deadline:
            self.check()
            with (
                contextlib.suppress(OSError, HTTPException),
                _direct.open(self.metrics_url, timeout=5) as page,
            ):
                lines = page.read().decode().splitlines()
                if f"sla_workers {PROCESSES}.0" in lines:
                    return sum(1 for line in lines if not line.startswith("#"))
            self._switch.sleep(0.1)
        raise FleetError(
            f"No {PROCESSES} workers at {self.metrics_url} after {BOOT_SECONDS:g} s.{self._log_end()}"
        )

    def check(self) -> None:
        """Raise `FleetError` if the workers have ended by themselves."""
        if self._watchdog is not None and (status := self._watchdog.poll()) is not None:
            raise FleetError(f"The workers have ended with status {status}.{self._log_end()}")

    def stop_workers(self) -> None:
        """End workers and exporter; the workers finish the jobs that they are at. May be called again."""
        if self._watchdog is None or self._watchdog.stdin is None:
            return
        self._watchdog.stdin.close()
        self._watchdog.wait()  # it has a deadline of its own

    def _log_end(self) -> str:
        """The worst lines of the workers' log and its last ones: flaky actors fill it as well."""
        with contextlib.suppress(OSError):
            lines = self.log.read_text(errors="replace").splitlines()
            shown = [line for line in lines[:-LOG_LINES] if "[CRITICAL]" in line] + lines[-LOG_LINES:]
            return "\n  ".join(["\nFrom their log:", *shown])
        return ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
