"""`littleq worker` as a pod runs it: a process of its own, told by signals, asked by probes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from littleq.health.pulse import Kind
from littleq.health.readings import Reading, read
from tests.support import ROOT, eventually

#: `hold(n)` runs until there is a file `go-n`; every begin and end is a line of its own file. `grip(s)` keeps Python's
#: lock for s seconds, as a C call does that never lets go.
APP = """
import ctypes, os, time
from pathlib import Path
import dramatiq, littleq
from littleq import SLAQueueConfig

FOLDER = Path(os.environ["TEST_FOLDER"])
while (FOLDER / "slow").exists():
    time.sleep(0.02)
littleq.setup(exporter_enabled=False, flush_seconds=0.2, queues=[SLAQueueConfig("q", admission="off")])

def note(what, number):
    with (FOLDER / what).open("a") as file:
        file.write(f"{number}\\n")

@dramatiq.actor(queue_name="q")
def hold(number):
    note("began", number)
    while not (FOLDER / f"go-{number}").exists():
        time.sleep(0.02)
    note("ended", number)

@dramatiq.actor(queue_name="q")
def grip(seconds):
    note("began", -1)
    ctypes.PyDLL(None).sleep(seconds)
    note("ended", -1)
"""
COMMAND = "from littleq.cli import main; main()"


class WorkerPod:
    """One worker and what there is around it.

    Args:
        folder: of the pod: the app, the pulses and the termination log.
        command: `littleq worker …` by default; else the arguments of `python`.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        *options: str,
        command: tuple[str, ...] | None = None,
        **environment: str,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        (folder / "pod_app.py").write_text(APP)
        known = {name: value for name, value in os.environ.items() if not name.startswith("LITTLEQ_")}
        self.environment = {
            **known,
            "PYTHONPATH": f"{folder}:{ROOT}",
            "LITTLEQ_URL": url,
            "LITTLEQ_PULSE_DIR": str(folder / "pulse"),
            "LITTLEQ_TERMINATION_LOG": str(folder / "why"),
            "TEST_FOLDER": str(folder),
            **environment,
        }
        arguments = command or ("-c", COMMAND, "worker", "pod_app", "-q", "q", *options)
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def health(self, *options: str) -> tuple[int, str]:
        """The exit code of a probe, and what it said."""
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, "health", *options],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, (done.stdout + done.stderr).strip()

    def until_ready(self) -> WorkerPod:
        eventually(lambda: self.health()[0] == 0, 30, f"readiness; {self.log()}")
        return self

    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def why(self) -> str:
        """The termination message."""
        path = self.folder / "why"
        return path.read_text().strip() if path.exists() else ""

    @property
    def worker(self) -> Reading:
        """The worker process."""
        [found] = [r for r in read(self.folder / "pulse") if r.kind is Kind.WORKER]
        return found

    def numbers(self, what: str) -> list[int]:
        path = self.folder / what
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def go(self, number: int) -> None:
        (self.folder / f"go-{number}").touch()

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = 20) -> int:
        return self.process.wait(seconds)

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def actors_of(app: Any) -> Any:
    """The actors of the app above, in this process."""
    app.hold = app.actor(lambda number: None, actor_name="hold", queue_name="q")
    app.grip = app.actor(lambda seconds: None, actor_name="grip", queue_name="q")
    return app
