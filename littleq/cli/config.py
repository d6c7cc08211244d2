"""`littleq config show` and `littleq config check`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from littleq.cli.options import connection_options

if TYPE_CHECKING:
    from littleq.config.report import Setting
    from littleq.config.sources import Loaded


@click.group()
def config() -> None:
    """Show and check the configuration.

    A setting comes from, lowest to highest: the defaults, [tool.littleq] in pyproject.toml, littleq.toml,
    LITTLEQ_* variables, the command line.
    """


@config.command()
@connection_options
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--toml", "as_toml", is_flag=True, help="As a littleq.toml.")
def show(url: str | None, config_file: Path | None, as_json: bool, as_toml: bool) -> None:
    """Print every setting, its value and where it came from. Passwords are hidden."""
    if as_json and as_toml:
        raise click.UsageError("--json and --toml exclude each other: give one.")
    from littleq.config.report import describe_config, to_toml

    loaded = _load(url, config_file)
    settings = list(describe_config(loaded))
    if as_toml:
        click.echo(to_toml(settings), nl=False)
    elif as_json:
        click.echo(json.dumps(_as_json(loaded, settings), indent=2, ensure_ascii=False))
    else:
        _print_table(loaded, settings)


@config.command()
@connection_options
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Threads in a worker process, to see whether max_workers can carry the arrival rate. "
    "Default: threads_per_worker of each queue.",
)
def check(url: str | None, config_file: Path | None, threads: int | None) -> None:
    """Check the configuration; exit code 0 when it is legal, 2 when it is not.

    Warnings tell what is legal but hardly meant; they do not change the exit code.
    """
    from littleq.config.contradictions import doubts
    from littleq.config.report import ledger_place

    loaded = _load(url, config_file)
    count = len(loaded.config.queues)
    click.echo(f"OK: {count} {'queue' if count == 1 else 'queues'} configured ({_read_from(loaded)})")
    click.echo(f"Ledger: {ledger_place(loaded)}")
    for doubt in doubts(loaded.config, threads=threads):
        click.echo(f"warning: {doubt}", err=True)


def _load(url: str | None, config_file: Path | None) -> Loaded:
    from littleq.config.sources import load

    return load(path=config_file, overrides={"url": url} if url else {}, overrides_from="command line")


def _read_from(loaded: Loaded) -> str:
    return ", ".join(map(str, loaded.files)) or "no littleq.toml or pyproject.toml with [tool.littleq] found"


def _as_json(loaded: Loaded, settings: list[Setting]) -> dict[str, Any]:
    return {
        "files": [str(file) for file in loaded.files],
        "settings": [
            {"setting": setting.name, "value": setting.value, "origin": setting.origin}
            for setting in settings
        ],
    }


def _print_table(loaded: Loaded, settings: list[Setting]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("origin", overflow="fold")
    section = settings[0].path[:-1]
    for setting in settings:
        if setting.path[:2] != section[:2] and setting.path[0] == "queues":
            table.add_row()
            section = setting.path[:2]
        # Text, not str: Rich reads [queues] in a str as markup.
        style = "dim" if setting.origin == "default" else ""
        cells = (setting.name, _words(setting.value), setting.origin)
        table.add_row(*(Text(cell) for cell in cells), style=style)
    console = Console(highlight=False)
    console.print(Text(f"Read: {_read_from(loaded)}"), soft_wrap=True)
    console.print()
    console.print(table)


def _words(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, Mapping):
        return "empty table"
    return str(value).lower() if isinstance(value, bool) else str(value)
