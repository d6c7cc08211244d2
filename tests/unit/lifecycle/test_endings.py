"""Why a worker ended, in a sentence, where Kubernetes looks for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from littleq.health.pulse import Kind, State
from littleq.health.readings import Reading
from littleq.lifecycle import endings
from littleq.lifecycle.launch import reason

KILLED = Reading(7, 1, Kind.WORKER, State.RUNNING, lives=False, jobs=(5.0, 6.0))
UNBORN = Reading(8, 1, Kind.WORKER, State.STARTING, lives=False)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(endings.VARIABLE, str(tmp_path / "why"))
    return tmp_path / "why"


@pytest.mark.parametrize(
    ("code", "dead", "says"),
    [
        (0, [], "Stopped before a job was taken."),
        (1, [KILLED], "Worker process 7 was killed while it ran 2 jobs (out of memory?)"),
        (1, [UNBORN], "Worker process 8 ended while it started"),
        (2, [], "The app cannot be imported, or the command line is wrong"),
        (3, [], "The broker cannot be reached"),
        (4, [], "Ended with status 4"),
    ],
)
def test_a_reason(code: int, dead: list[Reading], says: str) -> None:
    assert reason(code, dead).startswith(says)


def test_sentences_are_added_up_to_what_kubernetes_reads(log: Path) -> None:
    endings.say_why("One.")
    endings.say_why("Two.")
    assert log.read_text() == "One.\nTwo.\n"
    endings.say_why("x" * 5000)
    endings.say_why("y")
    assert log.stat().st_size == endings.MOST_BYTES
    assert endings.has_said_why()
    endings.begin()
    assert not endings.has_said_why()


def test_an_end_never_fails_for_its_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(endings.VARIABLE, str(tmp_path / "no" / "folder"))
    endings.begin()
    endings.say_why("One.")
    assert not endings.has_said_why()
    assert "cannot be written" in caplog.text
