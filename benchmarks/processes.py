"""Producers and workers, each a process of its own, under control of the one that measures."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from benchmarks.marks import VARIABLE, Marks
from benchmarks.systems import SYSTEMS

ROOT = Path(__file__).parent.parent
#: Longer than any idle consumer here sleeps between two polls (Dramatiq: 1 s): whoever was stopped for so long
#: looks at the queue at once when it goes on.
STOPPED_SECONDS = 1.2
#: For what should take seconds; other work may run on the machine.
PATIENCE = 90.0


class Producer:
    """Sends on demand; see `benchmarks.producer` for the orders."""

    def __init__(self, system: str, url: str, queue: str = "bench") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.producer", system, queue],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=_environment(url),
        )
        self.answer()

    def order(self, what: str, *arguments: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, (what, *arguments))) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"A producer ended: {self._process.args}.")
        return json.loads(line)

    def do(self, what: str, *arguments: int) -> Any:
        self.order(what, *arguments)
        return self.answer()

    def seconds(self, what: str, *arguments: int) -> float:
        """How long the order took."""
        started, ended = self.do(what, *arguments)
        return float(ended - started) / 1e9

    def close(self) -> None:
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Workers:
    """The worker processes of one system, each with all its children in a group of its own."""

    def __init__(self, system: str, url: str, *, count: int | None = None, **environment: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="littleq-bench-"))
        self.marks = Marks(self.folder)
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by __exit__
        measured = SYSTEMS[system]
        self._processes = [
            subprocess.Popen(
                measured.command(number),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                cwd=ROOT,
                env=_environment(url) | {VARIABLE: str(self.folder)} | environment,
                start_new_session=True,
            )
            for number in range(measured.commands if count is None else count)
        ]

    def warm_up(self, producer: Producer, processes: int, jobs: int = 100) -> None:
        """Have jobs done until so many processes took part: connections, scripts and caches are there from now on."""
        deadline = time.monotonic() + PATIENCE
        while True:
            done = len(self.marks.all())
            producer.do("send", jobs)
            self.wait_for(done + jobs)
            if self.marks.processes >= processes or time.monotonic() > deadline:
                break
        time.sleep(0.2)  # the last acknowledgements
        self.marks.forget()

    def wait_for(self, jobs: int, patience: float = PATIENCE) -> list[tuple[int, int]]:
        """What `jobs` jobs marked, once they have. A failure shows what the workers logged."""
        try:
            return self.marks.wait_for(jobs, patience)
        except TimeoutError:
            self._log.seek(0)
            print(self._log.read()[-3000:], file=sys.stderr)
            raise

    def stop(self) -> None:
        """Not one instruction more until `go_on`."""
        self._signal(signal.SIGSTOP)
        self._stopped_at = time.monotonic()

    def go_on(self) -> None:
        time.sleep(max(0.0, self._stopped_at + STOPPED_SECONDS - time.monotonic()))
        self._signal(signal.SIGCONT)

    def kill(self, *, with_children: bool = False) -> None:
        """kill -9; with those children too that have a session of their own, as where a whole container dies."""
        pids = [process.pid for process in self._processes]
        for pid in [*(_children(pids) if with_children else ()), *pids]:
            os.kill(pid, signal.SIGKILL)
        for process in self._processes:
            process.wait()

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes:
            os.killpg(process.pid, number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def processed_per_second(starts: Iterable[tuple[int, int]]) -> float:
    """From the first job's start to the last one's."""
    times = [start for start, _ in starts]
    return (len(times) - 1) / ((max(times) - min(times)) / 1e9)


def _children(parents: Sequence[int]) -> list[int]:
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    return [pid for pid, parent in pairs if parent in parents]


def _environment(url: str) -> dict[str, str]:
    return os.environ | {"LITTLEQ_BENCH_URL": url, "PYTHONPATH": str(ROOT)}
