"""docs/autoscaling.md tells the truth: its example prints what it says, its commands run, its tables are complete."""

from __future__ import annotations

import dataclasses
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from littleq.cli.root import cli
from littleq.metrics.labels import REGIMES
from littleq.policies.scaling import Observation, ScalingSettings
from tests.support import ROOT

PAGE = (ROOT / "docs" / "autoscaling.md").read_text()
EXAMPLE = ROOT / "examples" / "scaling_policy.py"
PICTURES = sorted(set(re.findall(r"\]\((images/[^)]+)\)", PAGE)))
COMMANDS = sorted(
    set(re.findall(r"^\$ (littleq .*)$", PAGE, re.M)) | set(re.findall(r"`(littleq simulate --.*?)`", PAGE))
)
#: As in `README.md` and other pages: a picture may not weigh more.
MOST_BYTES = 150_000


def block(language: str, containing: str) -> str:
    found = [text for text in re.findall(rf"```{language}\n(.*?)```", PAGE, re.S) if containing in text]
    assert len(found) == 1
    return str(found[0])


def section(title: str) -> str:
    return PAGE.partition(f" {title}\n")[2].partition("\n#")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of a Markdown table, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def names(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def test_the_example_prints_its_answer() -> None:
    assert block("python", "deque") == EXAMPLE.read_text()
    printed = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, check=True, cwd=ROOT)
    assert printed.stdout == block("text", "jobs waited longer")
    assert printed.stderr == ""


def test_all_settings_of_the_policy_are_there_with_their_defaults() -> None:
    told = {name: row[1] for row in rows(section("`ScalingSettings`")) for name in names(row[0])}
    real = {field.name: field.default for field in dataclasses.fields(ScalingSettings)}
    assert list(told) == list(real)
    required = dataclasses.MISSING
    assert {name: value.strip("`") for name, value in told.items()} == {
        name: "–" if default is required else str(default) for name, default in real.items()
    }


def test_all_that_is_observed_is_there() -> None:
    told = [name for row in rows(section("`Observation`")) for name in names(row[0])]
    assert sorted(told) == sorted(field.name for field in dataclasses.fields(Observation))


def test_all_regimes_are_there() -> None:
    assert sorted(
        name for row in rows(section("How to read a decision")) for name in names(row[0])
    ) == sorted(REGIMES)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_line_is_legal(line: str) -> None:
    _, name, *words = shlex.split(line)
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    command.parse_args(click.Context(command, info_name=name), words)


def test_the_first_command_shows_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who keeps the promise, and a picture. Exact figures would make each better policy a failure."""
    said = block("console", "llm_conv")
    command, _, answer = said.partition("\n")
    picture = tmp_path / "trace.png"
    words = [str(picture) if word == "trace.png" else word for word in shlex.split(command)[2:]]
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    verdict = re.compile(r"^([\w:-]+) .* (met|missed) ", re.M)
    assert verdict.findall(result.output) == verdict.findall(answer) != []
    assert result.output.splitlines()[:2] == answer.splitlines()[:2]
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("path", PICTURES)
def test_pictures_are_there_and_small(path: str) -> None:
    content = (ROOT / "docs" / path).read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) < MOST_BYTES


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!http)([^)]+)\)", PAGE))))
def test_links_lead_somewhere(target: str) -> None:
    path, _, anchor = target.partition("#")
    file = ROOT / "docs" / (path or "autoscaling.md")
    assert file.exists()
    if anchor:
        heads = re.findall(r"^#+ (.*)$", file.read_text(), re.M)
        assert anchor in [re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads]
