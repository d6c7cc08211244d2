"""`littleq explain` tells what was published, and every number of it can be computed again from what it prints."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rich.console import Console

from littleq.cli import explained
from littleq.cli.root import run
from littleq.config import Config
from littleq.ledger import open_ledger
from littleq.ledger.base import Record
from littleq.ledger.decisions import Published, document
from littleq.policies.scaling import INPUTS, Decision, ScalingSettings, recompute
from tests.conftest import free_port
from tests.integration.scaling_stories import Story, a_surge, stories, told

Answer = tuple[int, str, str]


@pytest.fixture
def publish(valkey_url: str, redis_client: Redis) -> Callable[..., None]:
    """Publish a story's last decision, as a controller does."""

    def publish(queue: str, story: Story, **events: int) -> None:
        ledger = open_ledger(Config(url=valkey_url))
        lease = ledger.lease("scaling", "box:1:abcd", 15.0)
        assert lease is not None
        record = Record(document(told(story), story[0], events), state={})
        assert ledger.publish(lease, {queue: record})

    return publish


@pytest.fixture
def littleq(
    valkey_url: str,
    redis_client: Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Answer]:
    """Run `littleq explain ARGS…` in a folder that configures `realtime` and `batch`."""
    for variable in [name for name in os.environ if name.startswith("LITTLEQ_")]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "littleq.toml").write_text(
        "[queues.realtime]\nsla_seconds = 1\n[queues.batch]\nsla_seconds = 60\nautoscale = false\n"
    )

    def call(*args: str, server: str = valkey_url) -> Answer:
        capsys.readouterr()
        code = run(["explain", *args, "--redis", server])
        return (code, *capsys.readouterr())

    return call


def make_old(client: Redis, queue: str, seconds: float) -> None:
    """As if it had been decided so long ago: ages are by the server's clock, so what is stored has to move."""
    key = f"littleq:dramatiq:ledger:record:{queue}"
    decided_at = client.hget(key, "decided_at")
    assert decided_at is not None
    client.hset(key, "decided_at", str(float(decided_at) - seconds))


@pytest.mark.parametrize("regime", stories())
def test_it_tells_the_truth(
    littleq: Callable[..., Answer], publish: Callable[..., None], regime: str
) -> None:
    """From the printed inputs and settings alone: every number of the decision, and its sentence."""
    publish("realtime", stories()[regime])
    code, out, err = littleq("--queue", "realtime", "--json")
    assert (code, err) == (0, "")
    printed = json.loads(out)
    decision = printed["decision"]
    assert decision["regime"] == regime
    again = recompute(ScalingSettings(**printed["settings"]), decision["inputs"])
    assert again == Decision(**decision)
    decided = document(told(stories()[regime]), stories()[regime][0], {})["decision"]
    assert decision == json.loads(json.dumps(decided))


def test_the_truth_depends_on_the_inputs(
    littleq: Callable[..., Answer], publish: Callable[..., None]
) -> None:
    """The test above could not fail if the inputs that decide were ignored."""
    publish("realtime", a_surge())
    printed = json.loads(littleq("--queue", "realtime", "--json")[1])
    inputs = printed["decision"]["inputs"]
    settings = ScalingSettings(**printed["settings"])
    fewer = recompute(settings, {**inputs, "backlog": [[age, jobs / 4] for age, jobs in inputs["backlog"]]})
    assert fewer.desired_workers < printed["decision"]["desired_workers"]
    assert fewer.reason != printed["decision"]["reason"]


@pytest.mark.parametrize("regime", stories())
def test_every_number_of_the_reason_is_printed_beside_it(
    littleq: Callable[..., Answer], publish: Callable[..., None], regime: str
) -> None:
    publish("realtime", stories()[regime])
    decision, settings = (
        json.loads(littleq("--queue", "realtime", "--json")[1])[k] for k in ("decision", "settings")
    )
    known = spellings(decision, settings)
    numbers = re.findall(r"\d[\d.]*(?:e[+-]?\d+)?(?<!\.)", decision["reason"])
    assert [number for number in numbers if number not in known] == []
    if regime not in ("holding", "blind"):
        assert numbers


def spellings(decision: dict[str, Any], settings: dict[str, Any]) -> set[str]:
    """All that a sentence may call the numbers that were printed, and their sums and products that it names."""
    inputs, steps = decision["inputs"], decision["steps"]
    values = [decision["desired_workers"], decision["required_servers"]]
    for each in (*inputs.values(), *steps.values(), *settings.values()):
        values += [each] if isinstance(each, (int, float)) else []
    for name in ("backlog", "scheduled", "starting"):
        values.append(sum(count for _, count in inputs[name]))
    values += [max((workers for _, workers in inputs["held"]), default=0)]
    values += [inputs["workers"] + sum(count for _, count in inputs["starting"])]
    values += [
        inputs["margin"] * inputs["guard"],
        inputs["headroom_rate"] * inputs["margin"] * inputs["guard"],
    ]
    waiting = sum(count for _, count in inputs["backlog"])
    values += [-(-waiting // settings["jobs_per_worker"])]
    found = set(re.findall(r"\d+", inputs["headroom_of"]))  # "peak of 10 min"
    for value in values:
        # As a number, and as a duration in ms, s, min or h.
        found |= {
            f"{value:g}",
            f"{value:.3g}",
            f"{value * 1000:.2g}",
            f"{value / 60:.3g}",
            f"{value / 3600:.3g}",
        }
    return found


@pytest.mark.parametrize("regime", stories())
def test_in_words_every_input_step_and_setting_is_there_with_its_meaning(
    littleq: Callable[..., Answer], publish: Callable[..., None], regime: str
) -> None:
    story = stories()[regime]
    publish("realtime", story)
    code, out, _ = littleq("--queue", "realtime")
    decision = told(story)
    assert code == 0
    assert out.splitlines()[0] == f"realtime: {decision.desired_workers} worker" + "s" * (
        decision.desired_workers != 1
    )
    assert decision.reason in out
    assert "box:1:abcd" in out
    rows = rows_of(out, "Inputs")
    for name, value in decision.inputs.items():
        _, meaning = INPUTS[name]
        assert meaning in rows[name]
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            assert f" {explained.value(value)} " in rows[name]
    rows = rows_of(out, "Steps")
    assert list(rows) == list(decision.steps)
    for name, value in decision.steps.items():
        assert explained.STEPS[name][1] in rows[name]
        assert f" {explained.value(value)} " in rows[name]
    assert list(rows_of(out, "Settings")) == list(explained.SETTINGS) == list(asdict(story[0]))


def rows_of(out: str, section: str) -> dict[str, str]:
    found = re.search(rf"^{section} *\n((?:  .*\n)*)", out, re.MULTILINE)
    assert found, section
    return {line.split()[0]: line for line in found[1].splitlines() if line.strip()}


def test_a_new_decision_is_not_called_stale_and_an_old_one_is(
    littleq: Callable[..., Answer], publish: Callable[..., None], redis_client: Redis
) -> None:
    publish("realtime", a_surge(), breached=2)
    _, out, _ = littleq("--queue", "realtime")
    assert "STALE" not in out
    assert "too old to act on" not in out
    assert "breached 2" in out
    assert json.loads(littleq("--queue", "realtime", "--json")[1])["stale"] is False
    make_old(redis_client, "realtime", 180)
    code, out, _ = littleq("--queue", "realtime")
    assert code == 0
    assert "Decided 3 min ago by box:1:abcd. STALE." in out
    assert "It is too old to act on: run `littleq controller`, or `littleq up`" in out
    printed = json.loads(littleq("--queue", "realtime", "--json")[1])
    assert printed["stale"] is True
    assert printed["age_seconds"] == pytest.approx(180, abs=15)


def test_without_a_decision_it_says_what_to_do(littleq: Callable[..., Answer]) -> None:
    code, out, err = littleq("--queue", "realtime")
    assert (code, err) == (1, "")
    assert out == (
        "realtime: nobody has decided about it: run `littleq controller`, "
        "or `littleq up` to run workers here as well.\n"
    )
    code, out, _ = littleq("--queue", "realtime", "--json")
    assert code == 1
    assert json.loads(out)["decision"] is None
    assert "its setting autoscale is off" in littleq("--queue", "batch")[1]


def test_a_queue_that_nobody_knows_is_bad_input(
    littleq: Callable[..., Answer], publish: Callable[..., None]
) -> None:
    publish("elsewhere", a_surge())  # decided about, though it is not configured here
    code, out, err = littleq("--queue", "realtme")
    assert (code, out) == (2, "")
    assert "No queue is called 'realtme'; known queues: batch, elsewhere, realtime." in err
    assert littleq("--queue", "elsewhere")[0] == 0


def test_without_a_queue_there_is_a_line_for_each(
    littleq: Callable[..., Answer], publish: Callable[..., None], redis_client: Redis
) -> None:
    publish("elsewhere", stories()["steady"])
    publish("other", a_surge())
    make_old(redis_client, "other", 180)
    code, out, _ = littleq()
    decision, surge = told(stories()["steady"]), told(a_surge())
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["queue", "workers", "desired", "regime", "age", "reason"]
    assert lines[1].split()[:4] == ["elsewhere", "4", str(decision.desired_workers), "steady"]
    assert lines[1].rstrip().endswith(decision.reason)
    assert lines[2].split()[:4] == ["other", "4", str(surge.desired_workers), "draining"]
    assert "3 min, stale" in lines[2]
    assert lines[3].split()[:5] == ["realtime", *"––––"]  # `batch` is not to be decided about
    assert "nobody has decided about it" in lines[3]
    assert lines[4].startswith("Stale decisions are not acted on")
    code, out, _ = littleq("--json")
    assert [json.loads(line)["queue"] for line in out.splitlines()] == ["elsewhere", "other", "realtime"]


def test_a_server_that_does_not_answer_is_one_sentence(littleq: Callable[..., Answer]) -> None:
    code, out, err = littleq("--queue", "realtime", server=f"127.0.0.1:{free_port()}")
    assert (code, out) == (2, "")
    assert err.startswith("littleq: The server cannot be used")
    assert err.count("\n") == 1


@pytest.mark.parametrize("shown", ["in full", "a line a queue"])
def test_80_columns_are_enough(shown: str) -> None:
    story = a_surge()
    published = Published("realtime", told(story), story[0], 1000.0, 33.0, "box:1:abcd", {"breached": 1})
    console = Console(width=80, record=True, file=StringIO())
    if shown == "in full":
        console.print(explained.pages(published))
    else:
        console.print(explained.lines(["realtime"], {"realtime": published}, {}, cut=True))
    text = console.export_text()
    assert max(len(line) for line in text.splitlines()) <= 80
    assert re.search(r"\b33 s, stale" if shown != "in full" else r"Decided 33 s ago", text)
    if shown == "in full":
        for _, meaning in INPUTS.values():  # wrapped, not cut
            assert "".join(meaning.split())[:30] in "".join(text.split())
