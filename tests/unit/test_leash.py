"""A test process that is killed leaves no server behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support import eventually

_TEST = """
from tests.brokers.leash import Leashed
Leashed(["sh", "-c", "sleep 60 & echo $! $$; wait"]).wait()
"""


def test_a_server_ends_with_all_its_processes_when_the_test_process_is_killed() -> None:
    test = subprocess.Popen(
        [sys.executable, "-c", _TEST], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert test.stdout is not None
    server = test.stdout.readline().split()
    assert len(server) == 2
    assert all(_runs(pid) for pid in server)
    test.kill()
    test.wait()
    eventually(lambda: not any(map(_runs, server)))


def _runs(pid: str) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
