"""docs/configuration.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import littleq.config.sources
from littleq.config import Config, SLAQueueConfig
from littleq.config.messages import default_text, legal_values, setting_names
from tests.unit.config.support import loaded, write

DOCS = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_documented_table_is_the_code() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in DOCS.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `") and line.count("|") == 7
    ]
    documented = [(row[0].strip("`"), row[3], row[4]) for row in rows]
    assert documented == [
        (name, legal_values(model, name), default_text(model, name))
        for model in (Config, SLAQueueConfig)
        for name in setting_names(model)
    ]
    assert all(row[5] for row in rows)
    assert {row[0] for row in rows if row[2] == "s"} == {row[0] for row in rows if "_seconds" in row[0]}


def test_the_documented_order_is_the_one_in_the_code() -> None:
    text = DOCS.read_text(encoding="utf-8").split("## Which source wins")[1]
    order = ["defaults", "pyproject.toml", "littleq.toml", "LITTLEQ_", "Python"]
    for prose in (text, str(littleq.config.sources.__doc__)):
        places = [prose.index(source) for source in order]
        assert places == sorted(places)


@pytest.mark.parametrize(
    "example", re.findall(r"```toml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
)
def test_the_documented_files_are_legal(folder: Path, example: str) -> None:
    write(folder, example, "pyproject.toml" if "[tool." in example else "littleq.toml")
    assert loaded(folder).config.queues


@pytest.mark.parametrize(
    "example", re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
)
def test_the_documented_python_runs(folder: Path, example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    exec(example, {})
