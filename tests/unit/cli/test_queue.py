"""`littleq queue` on a fake backend."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from littleq.backends.base import TruthTable
from littleq.backends.capabilities import NO_CANCEL
from littleq.cli.options import Session
from littleq.cli.truth import DUE_BOUNDS, due_bins, print_queues
from littleq.config import Config, SLAQueueConfig

Littleq = Callable[..., Any]

REALTIME = TruthTable(
    "realtime",
    ready=9,
    in_flight=4,
    delayed=3,
    dead=2,
    orphaned=1,
    oldest_age=1.5,
    next_due=75.0,
    paused=True,
    approximate=frozenset({"oldest_age"}),
)


@pytest.fixture
def two_queues(backend: Any) -> Any:
    """A busy, paused queue, and an empty one; the broker can do all that LittleQ's can."""
    backend.inspector.tables = {"realtime": [REALTIME], "batch": [TruthTable("batch")]}
    backend.become_able()
    return backend


# list ----------------------------------------------------------------------------------------------


def test_list_has_a_row_for_each_queue(littleq: Littleq, two_queues: Any) -> None:
    head, *rows = [line.split() for line in littleq("queue", "list").out.splitlines()]
    assert " ".join(head) == "queue ready in flight delayed dead orphaned oldest next due paused"
    assert [" ".join(row) for row in rows] == ["batch 0 0 0 0 0 – – no", "realtime 9 4 3 2 1 ~1.5 s 75 s yes"]


def test_list_json_is_one_object_a_line(littleq: Littleq, two_queues: Any) -> None:
    batch, realtime = (json.loads(line) for line in littleq("queue", "list", "--json").out.splitlines())
    assert realtime == {
        "queue": "realtime",
        "ready": 9,
        "in_flight": 4,
        "delayed": 3,
        "dead": 2,
        "orphaned": 1,
        "oldest_age": 1.5,
        "next_due": 75.0,
        "paused": True,
        "approximate": ["oldest_age"],
    }
    assert (batch["oldest_age"], batch["next_due"], batch["paused"]) == (None, None, False)


def test_list_marks_what_is_not_exact(littleq: Littleq, two_queues: Any) -> None:
    """A 0 as well: there may be jobs."""
    inexact = frozenset({"ready", "delayed", "oldest_age"})
    two_queues.inspector.tables = {"q": [TruthTable("q", ready=5, approximate=inexact)]}
    assert " ".join(littleq("queue", "list").out.splitlines()[1].split()) == "q ~5 0 ~0 0 0 – – no"


def test_list_can_be_asked_for_some(littleq: Littleq, two_queues: Any) -> None:
    lines = littleq("queue", "list", "--json", "-q", "batch").out.splitlines()
    assert [json.loads(line)["queue"] for line in lines] == ["batch"]
    assert "No queue is called 'bacth'; known queues: batch" in littleq("queue", "list", "-q", "bacth").err


def test_list_of_no_queue_says_what_to_do(littleq: Littleq, backend: Any) -> None:
    assert littleq("queue", "list").out == "No queue yet: start a worker, or name one in littleq.toml.\n"
    assert littleq("queue", "list", "--json").out == ""


def test_a_table_fits_a_terminal_and_reads_no_markup() -> None:
    console = Console(width=80, force_terminal=True, color_system=None)
    with console.capture() as capture:
        print_queues(console, [REALTIME, TruthTable("[red]odd")])
    lines = capture.get().splitlines()
    assert len(lines) == 3
    assert lines[1].rstrip().endswith("yes")
    assert lines[2].startswith("[red]odd")


# pause and resume ----------------------------------------------------------------------------------


def test_pause_and_resume_tell_what_they_changed(littleq: Littleq, two_queues: Any) -> None:
    assert littleq("queue", "pause", "realtime").out == "realtime  paused\n"
    answer = littleq("queue", "pause", "batch", "realtime")
    assert (answer.code, answer.out) == (0, "batch  paused\nrealtime  was paused already\n")
    assert two_queues.controls.paused == {"batch", "realtime"}
    assert littleq("queue", "resume", "realtime").out == "realtime  resumed\n"
    assert littleq("queue", "resume", "realtime").out == "realtime  was not paused\n"
    assert two_queues.controls.paused == {"batch"}


def test_a_queue_that_is_only_configured_can_be_paused(
    littleq: Littleq, two_queues: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its first worker starts, say."""
    config = Config(queues={"night": SLAQueueConfig("night")})
    opened = Session(config, None, two_queues, None)  # type: ignore[arg-type]
    monkeypatch.setattr("littleq.cli.queue.session", lambda *_: opened)
    assert littleq("queue", "pause", "night").out == "night  paused\n"
    assert littleq("queue", "delayed", "night").out == "night  0 delayed jobs\n"


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_one_unknown_queue_and_none_is_touched(littleq: Littleq, two_queues: Any, command: str) -> None:
    two_queues.controls.paused = before = {"batch"}
    answer = littleq("queue", command, "batch", "realtime", "raeltime")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("littleq: No queue is called 'raeltime'; known queues: batch, realtime.")
    assert answer.err.count("\n") == 1
    assert two_queues.controls.paused == before == {"batch"}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("pause", "realtime"), "The fake broker cannot pause a queue: use LittleQ's RedisBroker"),
        (("resume", "realtime"), "The fake broker cannot pause a queue: use LittleQ's RedisBroker"),
        (("delayed", "realtime"), "The fake broker cannot tell when delayed jobs are due: use LittleQ's"),
        (("cancel", "-q", "realtime", "m"), "The fake broker cannot cancel a delayed job: use LittleQ's"),
    ],
)
def test_what_a_broker_cannot_do_is_one_sentence(
    littleq: Littleq, backend: Any, args: tuple[str, ...], says: str
) -> None:
    answer = littleq("queue", *args)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"littleq: {says}")
    assert answer.err.count("\n") == 1


def test_a_schedule_may_tell_due_times_and_cancel_nothing(littleq: Littleq, two_queues: Any) -> None:
    """RabbitMQ's: 0 cancelled would be a wrong answer."""
    two_queues.capabilities = replace(two_queues.capabilities, cancel=NO_CANCEL)
    answer = littleq("queue", "cancel", "-q", "realtime", "m")
    assert (answer.code, answer.out) == (2, "")
    assert "cannot cancel a delayed job" in answer.err
    assert littleq("queue", "delayed", "realtime").code == 0


@pytest.mark.parametrize(
    "args", [("pause",), ("resume",), ("delayed",), ("cancel", "m"), ("cancel", "-q", "batch")]
)
def test_what_is_missing_is_a_usage_error(littleq: Littleq, two_queues: Any, args: tuple[str, ...]) -> None:
    answer = littleq("queue", *args)
    assert answer.code == 2
    assert "Missing" in answer.err


# delayed -------------------------------------------------------------------------------------------


def delay(backend: Any, *due: float, queue: str = "realtime") -> None:
    """Delay jobs `message-0`, `message-1`, … by these seconds, and let the truth table say so: due ones are ready."""
    backend.schedule.jobs = [(queue, f"message-{number}", seconds) for number, seconds in enumerate(due)]
    later = [seconds for seconds in due if seconds > 0]
    backend.inspector.tables[queue] = [
        TruthTable(queue, ready=len(due) - len(later), delayed=len(later), next_due=min(later, default=None))
    ]


def test_delayed_is_a_histogram_of_due_times(littleq: Littleq, two_queues: Any) -> None:
    delay(two_queues, 4.2, 0.5, 10.0, 10.1, 700_000.0)
    head, *rows = littleq("queue", "delayed", "realtime").out.splitlines()
    assert head == "realtime  5 delayed jobs, the next due in 500 ms"
    shown = {row[:18].strip(): int(row[18:26]) for row in rows}
    assert shown == {
        "now to 1 s": 1,
        "1 s to 10 s": 2,
        "10 s to 1 min": 1,
        "1 min to 10 min": 0,
        "10 min to 1 h": 0,
        "1 h to 6 h": 0,
        "6 h to 1 d": 0,
        "1 d to 7 d": 0,
        "after 7 d": 1,
    }
    assert rows[1].endswith("████████░░░░░░░░░░░░")
    assert rows[3].endswith("░" * 20)


def test_delayed_json_has_the_bounds_in_seconds(littleq: Littleq, two_queues: Any) -> None:
    delay(two_queues, 2.0, 800_000.0)
    record = json.loads(littleq("queue", "delayed", "realtime", "--json").out)
    assert (record["queue"], record["delayed"], record["next_due"]) == ("realtime", 2, 2.0)
    assert [each for each in record["due"] if each["jobs"]] == [
        {"low": 1.0, "high": 10.0, "jobs": 1},
        {"low": 604800.0, "high": None, "jobs": 1},
    ]


def test_of_no_delayed_job_there_is_no_histogram(littleq: Littleq, two_queues: Any) -> None:
    assert littleq("queue", "delayed", "batch").out == "batch  0 delayed jobs\n"


def test_what_is_due_is_not_delayed_even_before_it_is_moved(littleq: Littleq, two_queues: Any) -> None:
    delay(two_queues, -3.0, 0.0, 0.5)
    out = littleq("queue", "delayed", "realtime").out
    assert out.startswith("realtime  1 delayed job, the next due in 500 ms\n  now to 1 s             1  █")
    delay(two_queues, -3.0)
    assert littleq("queue", "delayed", "realtime").out == "realtime  0 delayed jobs\n"


def test_a_job_that_becomes_due_or_goes_between_two_reads(littleq: Littleq, two_queues: Any) -> None:
    delay(two_queues, 0.5)
    two_queues.schedule.cancel("realtime", "message-0")
    assert littleq("queue", "delayed", "realtime").out == "realtime  0 delayed jobs\n"
    delay(two_queues, 0.5)
    two_queues.inspector.tables["realtime"] = [TruthTable("realtime", delayed=1, next_due=0.0)]
    assert littleq("queue", "delayed", "realtime").out.startswith(
        "realtime  1 delayed job, the next due now\n"
    )


@given(due=st.lists(st.floats(-100, 1e6)))
def test_every_delayed_job_is_in_one_bin(due: list[float]) -> None:
    bins = due_bins([sum(seconds <= bound for seconds in due) for bound in DUE_BOUNDS])
    for each in bins:
        assert each.jobs == sum(each.low < seconds <= each.high for seconds in due)
    assert sum(each.jobs for each in bins) == sum(seconds > 0 for seconds in due)


def test_no_bin_holds_less_than_nothing() -> None:
    """Jobs are taken out of the schedule between the counts of two bounds."""
    assert [each.jobs for each in due_bins([9, 5, 6, *[6] * 7])] == [0, 1, *[0] * 7]


# cancel --------------------------------------------------------------------------------------------


def test_cancel_takes_away_what_is_delayed_under_an_id(littleq: Littleq, two_queues: Any) -> None:
    delay(two_queues, 1.0, 2.0, 3.0)
    two_queues.schedule.jobs.append(("realtime", "message-1", 9.0))  # a retry of it, say
    answer = littleq("queue", "cancel", "--queue", "realtime", "message-1", "message-2", "message-1")
    assert (answer.code, answer.out, answer.err) == (0, "3 delayed jobs cancelled.\n", "")
    assert two_queues.schedule.jobs == [("realtime", "message-0", 1.0)]


def test_cancel_names_what_is_not_delayed_there_and_exits_with_1(littleq: Littleq, two_queues: Any) -> None:
    delay(two_queues, 1.0)
    answer = littleq("queue", "cancel", "-q", "realtime", "gone", "message-0", "ready")
    assert (answer.code, answer.out) == (1, "1 delayed job cancelled.\n")
    assert answer.err == "littleq: not (or no longer) delayed in realtime: gone, ready.\n"
    delay(two_queues, 1.0)
    assert littleq("queue", "cancel", "-q", "batch", "message-0").code == 1
    assert len(two_queues.schedule.jobs) == 1


def test_what_was_cancelled_before_the_server_went_away_is_counted(
    littleq: Littleq, two_queues: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    delay(two_queues, 1.0, 2.0)
    cancel = two_queues.schedule.cancel

    def failing(queue: str, message_id: str) -> int:
        if message_id == "message-1":
            raise ConnectionError("gone")
        return int(cancel(queue, message_id))

    monkeypatch.setattr(two_queues.schedule, "cancel", failing)
    answer = littleq("queue", "cancel", "-q", "realtime", "message-0", "message-1")
    assert (answer.code, answer.out) == (2, "1 delayed job cancelled.\n")
    assert "The server cannot be used (gone)" in answer.err
