"""`littleq monitor`: what it reads, and how that looks."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from littleq.backends.base import Accounts, TruthTable
from littleq.cli.screen import frame, plain_line
from littleq.cli.watch import History, Reading, Watch, status_of
from littleq.config import Config, SLAQueueConfig
from littleq.ledger.base import LedgerSnapshot, LedgerUnavailable, Presence, QueueLedger
from littleq.metrics.observe import QueueReport
from littleq.metrics.sources import Source

Littleq = Callable[..., Any]

TRUTH = TruthTable("realtime", ready=9, in_flight=4, delayed=3, dead=2, accounts=Accounts(100, 82))
BUSY = QueueReport(
    queue="realtime",
    truth=TRUTH,
    sla_seconds=1.0,
    percentile=99.0,
    sla_on="wait",
    workers=1,
    servers=8,
    window_seconds=60.0,
    arrival_rate=19.83,
    shed_rate=0.0,
    retry_rate=0.2,
    completion_rate=19.3,
    service_time=0.0251,
    waiting_time=0.6123,
    sojourn_time=0.6374,
    wait_p50=0.012,
    wait_p99=0.85,
    breaches=12.0,
    breach_ratio=0.004,
    burn_rate=0.4,
    number_in_system=13,
    number_in_system_expected=12.36,
    utilization=0.625,
    queue_limit=20.0,
    predicted_wait=0.04,
    headroom=0.96,
)
UNKNOWN = QueueReport("lost", None, 60.0, 99.0, "wait")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "ok"),
        ({"truth": None}, "unknown"),
        ({"servers": None}, "unknown"),
        ({"truth": TruthTable("realtime", paused=True)}, "paused"),
        ({"truth": TruthTable("realtime", paused=True), "servers": None}, "paused"),
        ({"truth": TruthTable("realtime", ready=1, paused=True), "servers": 0, "burn_rate": 9.0}, "paused"),
        ({"servers": 0}, "no worker"),
        ({"servers": 0, "truth": TruthTable("realtime"), "arrival_rate": 0.0, "number_in_system": 0}, "idle"),
        ({"burn_rate": 1.8}, "breaching"),
        ({"burn_rate": 1.8, "headroom": -1.0, "shed_rate": 3.0}, "breaching"),
        ({"headroom": -0.1, "shed_rate": 3.0}, "at risk"),
        ({"shed_rate": 0.5}, "shedding"),
        ({"number_in_system": 0, "arrival_rate": 0.0}, "idle"),
        ({"number_in_system": 0, "arrival_rate": None}, "idle"),
    ],
)
def test_the_status_is_the_worst_that_can_be_said(changes: dict[str, Any], word: str) -> None:
    assert status_of(replace(BUSY, **changes)).word == word


def shown(
    reports: list[QueueReport], width: int, height: int | None = None, samples: int = 50, **away: str
) -> list[str]:
    """The lines of a screen without colours."""
    histories = {report.queue: History() for report in reports}
    for history in histories.values():
        history.taken_at.extend(float(n) for n in range(samples))
        history.depth.extend(float(n) for n in range(samples))
        history.arrival_rate.extend(20.0 for _ in range(samples))
    reading = Reading(1.7e9, {report.queue: report for report in reports}, away)
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(
            frame(reading, histories, server="redis://***@db:6379", width=width, height=height, note="live")
        )
    return capture.get().splitlines()


@pytest.mark.parametrize("width", [60, 80, 100, 111, 112, 120, 200])
@pytest.mark.parametrize("height", [None, 6, 12, 24, 50])
def test_a_screen_never_exceeds_its_terminal(width: int, height: int | None) -> None:
    odd = replace(BUSY, queue="a_queue_with_a_very_long_name_indeed", arrival_rate=12345.6, breaches=1e9)
    reports = [BUSY, UNKNOWN, odd, *(replace(BUSY, queue=f"queue{n}") for n in range(4))]
    for some in (reports[:1], reports[:2], reports):
        lines = shown(
            some, width, height, broker="it has gone away and left us a very long story about it" * 3
        )
        assert all(cell_len(line) <= width for line in lines)
        if height is not None:
            assert len(lines) <= height + 1  # the last, empty one falls off


@pytest.mark.parametrize("width", [80, 120])
def test_a_block_shows_every_number(width: int) -> None:
    text = "\n".join(shown([BUSY], width))
    for part in (
        "99 % start within 1 s", "● ok", "13 of 20", "9 ready  4 in flight  3 delayed", "dead letters 2",
        "λ 19.8/s", "done 19.3/s", "retried 0.2/s", "L 24.5", "λW 12.4", "W 637 ms = Wq 612 ms + S 25.1 ms",
        "c 8", "ρ 62.5 %", "in 1 worker process", "p50 12 ms", "p99 850 ms", "next job 40 ms",
        "headroom 960 ms",
        "0.4 % of the last minute, 1 % may", "max 49", "max 20/s",
    ):  # fmt: skip
        assert part in text
    assert "shed" not in text


def test_without_colours_the_state_is_still_there() -> None:
    late = replace(BUSY, headroom=-0.4, burn_rate=2.4)
    text = "\n".join(shown([late], 80))
    assert "✗ breaching: 2.4 times what it may" in text
    assert "short by 400 ms" in text


def test_a_paused_queue_says_so_in_every_form() -> None:
    paused = replace(BUSY, truth=replace(TRUTH, paused=True))
    assert "‖ paused: no job is handed out" in shown([paused], 80)[2]
    assert any("‖ paused" in line for line in shown([paused] * 2, 80, 8))
    assert " status=paused " in plain_line(paused, 1.7e9)
    assert "paused" not in "\n".join(shown([BUSY], 80))


@pytest.mark.parametrize(
    ("next_due", "told"), [(4.2, "retried 0.2/s   next due 4.2 s"), (-0.5, "next due 0 s")]
)
def test_a_block_tells_when_the_next_delayed_job_is_due(next_due: float, told: str) -> None:
    block = "\n".join(shown([replace(BUSY, truth=replace(TRUTH, next_due=next_due))], 120))
    assert told in block
    assert "next due" not in "\n".join(shown([BUSY], 120))


def test_queues_that_do_not_fit_become_rows_and_then_a_hint() -> None:
    reports = [replace(BUSY, queue=f"queue{n}") for n in range(9)]
    assert sum("p50" in line for line in shown(reports, 80, 100)) == 9
    rows = shown(reports, 80, 24)
    assert sum("● ok" in line for line in rows) == 9
    assert not any("p50" in line for line in rows)
    few = shown(reports, 80, 8)
    assert few[-1].strip() == "… 5 more: name some with --queue"
    assert sum("● ok" in line for line in few) == 4


def test_an_outage_is_said_and_unknown_queues_take_one_line() -> None:
    lines = shown([UNKNOWN], 80, broker="nobody listens")
    assert lines[1] == "✗ The broker does not answer, trying again: nobody listens"
    assert any("lost" in line and "? unknown" in line for line in lines)
    assert len(lines) == 5


def test_a_plain_line_is_made_of_words_without_blanks() -> None:
    line = plain_line(BUSY, 1.7e9)
    _, queue, *words = line.split(" ")
    assert queue == "realtime"
    assert dict(word.split("=") for word in words)["p99"] == "850ms"


class FakeLedger:
    def __init__(self, *snapshots: LedgerSnapshot | Exception) -> None:
        self.snapshots = list(snapshots)

    def snapshot(self, queues: Any = None) -> LedgerSnapshot:
        found = self.snapshots.pop(0) if len(self.snapshots) > 1 else self.snapshots[0]
        if isinstance(found, Exception):
            raise found
        return found


def snapshot(at: float, offered: float) -> LedgerSnapshot:
    queue = QueueLedger(
        {"offered:default": offered, "shed:default": 1.0}, {"offered:default": 60.0}, 60.0, {}
    )
    worker = Presence("w", "host", 1, 8, ("realtime",), 0.0)
    return LedgerSnapshot(at, {"realtime": queue, "": queue}, (worker,))


def watching(backend: Any, *snapshots: LedgerSnapshot | Exception, wanted: tuple[str, ...] = ()) -> Watch:
    ledger = FakeLedger(*snapshots)
    config = Config(queues={"realtime": SLAQueueConfig("realtime", arrival_rate=20, sla_seconds=1)})
    return Watch(
        config,
        Source("broker", lambda: backend.inspector),
        Source("ledger", lambda: ledger),  # type: ignore[arg-type, return-value]
        wanted,
        now=lambda: 1.7e9,
    )


def test_the_history_is_depth_and_arrivals_between_two_readings(backend: Any) -> None:
    backend.inspector.tables["realtime"] = [TruthTable("realtime", ready=n) for n in (1, 5)]
    watch = watching(backend, snapshot(100.0, 40.0), snapshot(102.0, 100.0))
    watch.read()
    watch.read()
    history = watch.histories["realtime"]
    assert list(history.depth) == [1.0, 5.0]
    assert list(history.arrival_rate) == [None, 30.0]


def test_l_is_the_mean_depth_of_the_last_minute() -> None:
    history = History()
    assert history.mean_depth() is None
    for at, depth in ((0.0, 900), (50.0, 10), (80.0, None), (100.0, 20)):
        history.add(at, replace(BUSY, number_in_system=depth), None)
    assert history.mean_depth() == 15.0


def test_after_an_outage_arrivals_are_not_made_up(backend: Any) -> None:
    away = LedgerUnavailable("ConnectionError: nobody listens")
    watch = watching(backend, snapshot(100.0, 40.0), away, snapshot(104.0, 100.0), snapshot(105.0, 110.0))
    readings = [watch.read() for _ in range(4)]
    assert [reading.away for reading in readings] == [{}, {"ledger": "nobody listens"}, {}, {}]
    assert list(watch.histories["realtime"].arrival_rate) == [None, None, None, 10.0]


def test_all_that_anybody_knows_is_shown_but_the_ledger_s_nameless_queue(backend: Any) -> None:
    backend.inspector.tables["stranger"] = [TruthTable("stranger", ready=1)]
    assert set(watching(backend, snapshot(1.0, 1.0)).read().reports) == {"realtime", "stranger"}


def test_a_wanted_queue_that_nobody_knows_is_found_out(backend: Any) -> None:
    watch = watching(backend, snapshot(1.0, 1.0), wanted=("realtime", "raeltime"))
    reading = watch.read()
    assert list(reading.reports) == ["realtime", "raeltime"]
    assert watch.unknown(reading) == ["raeltime"]
    away = watching(backend, LedgerUnavailable(""), wanted=("raeltime",))
    assert away.unknown(away.read()) == []


def test_an_outage_keeps_no_secret(backend: Any) -> None:
    watch = watching(backend, LedgerUnavailable("cannot reach redis://me:hunter2@db"))
    assert watch.read().outage() == ("The ledger does not answer", "cannot reach redis://***@db")


def test_a_record_is_json_with_nulls_for_what_is_not_known() -> None:
    reading = Reading(1.7e9, {"realtime": replace(BUSY, wait_p99=math.inf), "lost": UNKNOWN}, {})
    queues = json.loads(json.dumps(reading.record(), allow_nan=False))["queues"]
    assert queues["realtime"]["truth"]["ready"] == 9
    assert queues["realtime"]["truth"]["imbalance"] == 0
    assert queues["realtime"]["wait_p99"] is None
    assert queues["realtime"]["status"] == "ok"
    assert queues["lost"]["truth"] is None


@pytest.fixture
def watch(backend: Any, monkeypatch: pytest.MonkeyPatch) -> Watch:
    """The watch that the command opens."""
    backend.inspector.tables["realtime"] = [TRUTH]
    opened = watching(backend, snapshot(100.0, 40.0))
    monkeypatch.setattr("littleq.cli.watch.open_watch", lambda *_: opened)
    return opened


def test_once_prints_a_screen(littleq: Littleq, watch: Watch) -> None:
    answer = littleq("monitor", "--once", "--redis", "me:hunter2@db:6379")
    assert answer.code == 0
    assert "LittleQ  redis://***@db:6379" in answer.out
    assert "13 of 20" in answer.out
    assert "trying again" not in answer.out


def test_once_json_prints_one_object(littleq: Littleq, watch: Watch) -> None:
    answer = littleq("monitor", "--once", "--json")
    assert answer.code == 0
    assert json.loads(answer.out)["queues"]["realtime"]["number_in_system"] == 13


def test_once_says_what_is_known_and_exits_with_2_when_a_server_is_away(
    littleq: Littleq, backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.inspector.tables["realtime"] = [TRUTH]
    half = watching(backend, LedgerUnavailable("ConnectionError: nobody listens"))
    monkeypatch.setattr("littleq.cli.watch.open_watch", lambda *_: half)
    answer = littleq("monitor", "--once", "--json")
    assert answer.code == 2
    assert json.loads(answer.out)["queues"]["realtime"]["number_in_system"] == 13
    assert answer.err == (
        "littleq: The ledger does not answer (nobody listens): start it, or name another with --url.\n"
    )


def test_without_a_terminal_it_prints_lines_until_ctrl_c(
    littleq: Littleq, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)
    answer = littleq("monitor", "--interval", "500ms")
    assert answer.code == 130
    assert slept == [0.5] * 3
    assert [line.split()[1] for line in answer.out.splitlines()] == ["realtime"] * 3
