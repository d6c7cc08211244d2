"""The terminal: consoles that crop nothing in a pipe, a progress bar on stderr, JSON lines on stdout."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

#: Width of a line that nobody looks at: a file or another program cuts for itself.
PIPE_WIDTH = 400


def make_console(*, stderr: bool = False) -> Console:
    """A Rich console that prints plain text, uncropped, into a pipe."""
    from rich.console import Console

    class PlainConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # Rich would exit with 1, which means something else here

    stream = sys.stderr if stderr else sys.stdout
    return PlainConsole(stderr=stderr, highlight=False, width=None if stream.isatty() else PIPE_WIDTH)


def echo_json(record: Any) -> None:
    """One JSON object on one line; what JSON does not know is written as text."""
    click.echo(json.dumps(record, default=str, ensure_ascii=False, allow_nan=False))


def quiet_logs() -> None:
    """Keep LittleQ's warnings off the terminal, unless the app has set up logging."""
    logging.getLogger("littleq").addHandler(logging.NullHandler())


@contextmanager
def progress_bar(title: str, total: int | None = None) -> Iterator[Callable[[str], None]]:
    """A progress bar on stderr, if that is a terminal; call what it yields after each step, with a remark."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = make_console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[remark]}"),
        *([TimeRemainingColumn(compact=True)] if total else []),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=total, remark="")
        yield lambda remark: progress.update(task, advance=1, remark=remark)
