"""`littleq plan` as people run it: the table, the JSON, the picture, and what it says about bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT

LITTLEQ = (sys.executable, "-c", "from littleq.cli import main; main()")
TWENTY = (
    "--arrival-rate",
    "20",
    "--service-time",
    "0.2",
    "--scv",
    "1.5",
    "--sla",
    "1s",
    "--percentile",
    "99",
)

SETTINGS = """
[queues.realtime]
sla_seconds = 2
percentile = 95
arrival_rate = 40
service_time_seconds = 0.5
sla_on = "sojourn"
max_workers = 2

[queues.batch]
sla_seconds = 30
"""

Plan = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Run `littleq plan ARGS…` in a folder with settings."""
    (tmp_path / "littleq.toml").write_text(SETTINGS)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LITTLEQ_")}

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*LITTLEQ, "plan", *args],
            cwd=tmp_path,
            env={**inherited, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def record_of(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout))


def row(text: str, title: str) -> str:
    return next(line.strip() for line in text.splitlines() if line.strip().startswith(title))


def test_the_numbers_of_the_json_are_those_of_the_table(plan: Plan) -> None:
    from littleq.cli.planned import attained
    from littleq.cli.show import number, percent, seconds

    args = (*TWENTY, "--threads", "2")
    text, record = plan(*args).stdout, record_of(plan(*args, "--json"))
    pool, burst = record["pool"], record["burst"]
    assert f"{record['servers_needed']} servers in {record['workers_needed']} workers" in row(text, "needed")
    assert f"{pool['workers']} workers of {pool['threads']} threads" in row(text, "pool")
    assert pool["holds"] is True and "the promise holds" in row(text, "pool")
    assert row(text, "in time").endswith(attained(pool["attainment"]))
    assert row(text, "utilization").endswith(percent(pool["utilization"]))
    waits = row(text, "wait")
    assert f"mean {seconds(pool['mean_wait_seconds'])}" in waits
    for name, wait in pool["wait_quantiles_seconds"].items():
        assert f"{name} {seconds(wait)}" in waits
    assert f"{number(pool['number_in_system'])} in the system" in row(text, "jobs")
    limit = record["limit"]
    assert f"contract {limit['contract']}   capacity {limit['capacity']}" in row(text, "limit")
    assert row(text, "model").endswith(record["model"])
    for point in record["curve"]:
        cells = row(text.partition("Cost curve")[2], f"{point['servers']} ").split("  ")
        assert attained(point["attainment"]) in [cell.strip() for cell in cells]
        assert ("the promise holds from here" in cells[-1] + cells[-2]) is (
            point["servers"] == record["servers_needed"]
        )
    for title, ride in (("the pool alone", burst["alone"]), ("ordered at once", burst["reinforced"])):
        told = row(text, title)
        assert f"up to {number(round(ride['peak_backlog']))}," in told
        assert f"longest wait {seconds(ride['longest_wait_seconds'])}" in told
        assert f"{number(round(ride['missed']))} jobs late" in told
        assert f"drained after {seconds(ride['drained_at_seconds'])}" in told
    assert f"+{burst['extra_workers']} workers" in row(text, "to hold it")
    assert f"{burst['headroom_workers']:+}" in row(text, "headroom")
    for sentence in record["assumptions"]:
        assert sentence in text


def test_what_is_not_given_comes_from_the_queue(plan: Plan) -> None:
    record = record_of(plan("--queue", "realtime", "--percentile", "90", "--json"))
    assert record["demand"] == {
        "arrival_rate": 40,
        "service_time_seconds": 0.5,
        "scv": 1.0,
        "arrival_scv": 1.0,
        "sla_seconds": 2,
        "percentile": 90.0,
        "sla_on": "sojourn",
        "offered_load": 20,
    }
    assert record["exact"] is True


def test_a_fleet_that_the_queue_may_not_have_is_said(plan: Plan) -> None:
    text = plan("--queue", "realtime").stdout
    assert "Queue 'realtime' may have 2 workers (max_workers) and needs 3." in text
    assert "max_workers" not in plan("--queue", "realtime", "--threads", "64").stdout


def test_a_pool_that_is_too_small_says_so(plan: Plan) -> None:
    text = plan(*TWENTY, "--threads", "1", "--workers", "5").stdout
    assert "the promise does not hold" in row(text, "pool")


def test_the_picture_is_drawn(plan: Plan, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plot extra is not installed")
    result = plan(*TWENTY, "--plot", "out.png")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "--arrival-rate is missing"),
        (("--queue", "batch"), "arrival_rate of queue 'batch' is not set"),
        (("--queue", "nope"), "No queue is called 'nope'"),
        (("--config", "littleq.toml"), "--config needs --queue"),
        ((*TWENTY, "--arrival-rate", "0"), "'0' is not a rate above 0"),
        ((*TWENTY, "--arrival-rate", "nan"), "'nan' is not a rate"),
        ((*TWENTY, "--service-time", "200"), "write 200ms or 200s"),
        ((*TWENTY, "--sla", "1000"), "write 1000ms or 1000s"),
        ((*TWENTY, "--scv", "nan"), "'nan' is not variance / mean²"),
        ((*TWENTY, "--arrival-scv", "-1"), "'-1' is not variance / mean²"),
        ((*TWENTY, "--percentile", "0.99"), "write 95 for 95 %"),
        ((*TWENTY, "--burst", "0.5"), "burst is 0.5"),
        ((*TWENTY, "--threads", "4", "--workers", "1"), "4 erlangs on 4 servers"),
        ((*TWENTY, "--sla", "100ms", "--sla-on", "sojourn"), "no number of workers helps"),
        ((*TWENTY, "--json", "--plot", "nowhere/out.png"), "cannot be written"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    littleq_in_process: Callable[..., tuple[int, str, str]], args: tuple[str, ...], said: str
) -> None:
    code, out, err = littleq_in_process("plan", *args)
    assert code == 2
    assert said in err and err.startswith("littleq: ") and err.count("\n") == 1
    assert out == ""


@pytest.fixture
def littleq_in_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """A process of its own for every wrong word would take half a minute."""
    from littleq.cli.root import run

    (tmp_path / "littleq.toml").write_text(SETTINGS)
    for name in [name for name in os.environ if name.startswith("LITTLEQ_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def call(*args: str) -> tuple[int, str, str]:
        code = run(args)
        return code, *capsys.readouterr()

    return call


def test_a_long_run_time_is_legal_with_its_unit(plan: Plan) -> None:
    record = record_of(plan("--arrival-rate", "1", "--service-time", "200s", "--sla", "1s", "--json"))
    assert record["demand"]["offered_load"] == 200
