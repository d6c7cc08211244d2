"""README tells the truth: its snippet prints what it says, its settings load, its links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from littleq.config.sources import load_config
from tests.support import ROOT

README = (ROOT / "README.md").read_text()


def block(language: str, containing: str) -> str:
    found = [text for text in re.findall(rf"```{language}\n(.*?)```", README, re.S) if containing in text]
    assert len(found) == 1
    return str(found[0])


def test_the_first_snippet_prints_its_answer(tmp_path: Path) -> None:
    code = block("python", "def resize")
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    printed = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "LITTLEQ_DATA_DIR": str(tmp_path / "data")},
    )
    assert printed.stdout == block("text", "is full")
    assert printed.stderr == ""


def test_the_settings_load(tmp_path: Path) -> None:
    (tmp_path / "littleq.toml").write_text(block("toml", "arrival_rate"))
    queue = load_config(path=tmp_path / "littleq.toml", environ={}).queue("realtime")
    assert (queue.admission_mode, queue.arrival_rate, queue.sla_seconds) == ("contract", 20, 1)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_links_lead_somewhere(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^\$ littleq (.*?)\s*(?:#.*)?$", README, re.M))))
def test_commands_are_known_with_these_options(command: str) -> None:
    """Each command line parses: `--help` comes after its own options."""
    parts = command.split()
    shown = subprocess.run(
        [sys.executable, "-c", "from littleq.cli import main; main()", *parts, "--help"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert shown.returncode == 0, shown.stderr
    assert "Usage:" in shown.stdout
