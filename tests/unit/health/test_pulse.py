"""The pulse file: who lives is known by a lock, whatever became of the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from littleq.health import pulse
from littleq.health.probe import probe, run_quickly
from littleq.health.pulse import SIZE, Field, Kind, Pulse, State
from littleq.health.readings import parse, read

WRITER = """
import sys, time
from littleq.health.pulse import Kind, Pulse, State
pulse = Pulse.begin(Kind.WORKER, inherited="exec" in sys.argv)
pulse.enter(State.RUNNING)
if "exec" in sys.argv:
    import os
    os.execv(sys.executable, [sys.executable, "-c", "print('ready', flush=True); import time; time.sleep(60)"])
print("ready", flush=True)
sys.stdin.read()
pulse.end()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(pulse.FOLDER_VARIABLE, str(tmp_path / "deep" / "pulse"))
    before = pulse.current()
    pulse.keep(None)
    yield tmp_path / "deep" / "pulse"
    pulse.keep(before)


@pytest.fixture
def writer() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_what_is_written_is_read(place: Path) -> None:
    made = Pulse.begin(Kind.SUPERVISOR)
    made.enter(State.RUNNING)
    made.head[Field.WANTED], made.head[Field.ANSWERED] = 3, 12.5
    made.jobs[0], made.jobs[5] = 700.0, 800.0
    made.name_stuck("a queue")
    [found] = read(place)
    assert (found.pid, found.parent, found.lives) == (os.getpid(), os.getppid(), True)
    assert (found.kind, found.state, found.wanted) == (Kind.SUPERVISOR, State.RUNNING, 3)
    assert (found.answered_at, found.jobs, found.name) == (12.5, (700.0, 800.0), "a queue")
    assert 0 <= time.monotonic() - found.heard_at < 60
    made.end()
    assert read(place) == []


def test_a_killed_writer_is_dead_and_an_orderly_one_is_gone(place: Path, writer: Any) -> None:
    killed, orderly = writer(), writer()
    assert {reading.pid: reading.lives for reading in read(place)} == {killed.pid: True, orderly.pid: True}
    os.kill(killed.pid, signal.SIGSTOP)
    assert all(reading.lives for reading in read(place)), "frozen is not dead"
    killed.kill()
    killed.wait()
    orderly.communicate()
    [left] = read(place)
    assert (left.pid, left.lives, left.state) == (killed.pid, False, State.RUNNING)


def test_the_next_writer_takes_away_what_a_dead_one_left_behind(place: Path, writer: Any) -> None:
    killed = writer()
    killed.kill()
    killed.wait()
    other = writer()
    assert [reading.pid for reading in read(place)] == [other.pid]
    pulse.forget(other.pid)
    assert [reading.pid for reading in read(place)] == [other.pid], "it lives"
    other.kill()
    other.wait()
    pulse.forget(other.pid)
    assert read(place) == []


def test_a_program_that_is_executed_keeps_an_inherited_pulse_alive(place: Path, writer: Any) -> None:
    process = writer("exec")
    [found] = read(place)
    assert (found.pid, found.lives) == (process.pid, True)


def test_a_forked_child_does_not_keep_the_pulse_of_a_dead_parent_alive(place: Path) -> None:
    script = (
        "import os, time\nfrom littleq.health import pulse\npulse.start()\n"
        "child = os.fork()\n"
        "if child == 0:\n    assert pulse.current() is None\n    print('child', flush=True)\n    time.sleep(60)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"child\n"
        assert [reading.lives for reading in read(place)] == [True]
        process.kill()
        process.wait()
        assert [reading.lives for reading in read(place)] == [False]
    finally:
        os.killpg(process.pid, signal.SIGKILL)


def test_a_file_of_another_release_is_passed_over(place: Path) -> None:
    assert parse(bytes(SIZE), lives=True) is None
    assert parse(b"short", lives=True) is None


def test_where_no_file_can_be_a_worker_works_without_and_says_what_to_do(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place.parent.mkdir()
    place.write_text("a file where the folder should be")
    made = pulse.start()
    made.enter(State.RUNNING)
    made.jobs[0] = 1.0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"set {pulse.FOLDER_VARIABLE} to a folder that it may write to" in caplog.text
    pulse.end()


def test_a_probe_answers_with_a_line_and_a_code(place: Path) -> None:
    nobody = probe(live=True)
    assert nobody.code == 2
    assert nobody.line.startswith(f"littleq: No worker has said in {place} that it lives: start one with")
    made = Pulse.begin(Kind.SUPERVISOR)
    made.enter(State.RUNNING)
    assert probe(live=False) == ("Ready: 0 worker processes, 0 jobs running.", 0)
    made.enter(State.STOPPING)
    assert probe(live=False) == (f"Not ready: supervisor {os.getpid()} is stopping, for 0 s.", 1)
    assert probe(live=True, as_json=True) == (
        '{"ok": true, "state": "alive", "reason": "0 worker processes, 0 jobs running."}',
        0,
    )
    made.end()


def test_only_a_plain_probe_is_answered_without_the_command_line(place: Path) -> None:
    assert run_quickly(["health", "--live"]) is not None
    assert run_quickly(["health", "--help"]) is None
    assert run_quickly(["worker", "health"]) is None
    assert run_quickly([]) is None


def test_a_plain_probe_imports_neither_click_nor_dramatiq(place: Path) -> None:
    code = (
        "import sys; sys.argv = ['littleq', 'health']\n"
        "from littleq.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 2\n"
        "heavy = {'click', 'rich', 'dramatiq', 'pydantic', 'redis', 'logging'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
