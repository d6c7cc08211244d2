"""docs/cli.md shows commands that exist, and leaves none out."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from littleq.cli.root import COMMANDS, cli

PAGE = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()
LINES = re.findall(r"^\$ (littleq .*?)(?: \|.*)?$", PAGE, flags=re.MULTILINE)


@pytest.mark.parametrize("line", LINES)
def test_a_command_line_on_the_page_is_legal(line: str) -> None:
    """Every option is one of the command's; values are checked too, and nothing is run."""
    _, *words = shlex.split(line)
    command: click.Command = cli
    context = click.Context(cli, info_name="littleq")
    while isinstance(command, click.Group):
        found = command.get_command(context, words.pop(0))
        assert found is not None
        context, command = click.Context(found, parent=context), found
    command.parse_args(context, words)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_section_with_an_example(name: str) -> None:
    section = PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert f"$ littleq {name}" in section
