"""How `littleq move` shows what it has done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from littleq.cli.show import counted
from littleq.cli.terminal import echo_json, make_console

if TYPE_CHECKING:
    from littleq.backends.base import TruthTable
    from littleq.backends.transfer import Kind
    from littleq.moving import Totals


def remaining(table: TruthTable) -> int:
    """Jobs that are left, those that workers hold too."""
    return table.ready + table.delayed + table.dead + table.in_flight + table.orphaned


@dataclass
class Result:
    """What a run has come to."""

    queue: str
    journal: Path
    totals: Mapping[Kind, Totals]
    left: TruthTable
    interrupted: bool
    resumed: bool
    trouble: str | None

    @property
    def unverified(self) -> int:
        return sum(each.taken - each.verified + each.unsure for each in self.totals.values())

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be done, verified or not."""
        return not (remaining(self.left) or self.interrupted or self.trouble)

    @property
    def exit_code(self) -> int:
        return 2 if self.trouble else 0 if self.is_complete else 1

    @property
    def is_complete(self) -> bool:
        return self.is_over and not self.unverified

    def show(self, *, as_json: bool) -> None:
        if as_json:
            rows = {
                kind: {**asdict(each), "left": getattr(self.left, kind)} for kind, each in self.totals.items()
            }
            held = {"in_flight": self.left.in_flight, "orphaned": self.left.orphaned}
            echo_json({"queue": self.queue, "complete": self.is_complete, **rows, **held})
        else:
            self._table()
        for line in self._remarks():
            click.echo(line, err=as_json)

    def _table(self) -> None:
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column(self.queue)
        columns = ("taken", "given", "verified", "left")
        for name in columns:
            table.add_column(name, justify="right")
        for kind, each in self.totals.items():
            left = f"{'~' if kind in self.left.approximate else ''}{getattr(self.left, kind):,}"
            table.add_row(kind, *(f"{getattr(each, name):,}" for name in columns[:3]), left)
        make_console().print(table)

    def _remarks(self) -> Iterator[str]:
        if self.resumed:
            yield f"With what earlier runs did, by {self.journal}."
        held, unsure = (
            self.left.in_flight + self.left.orphaned,
            sum(each.unsure for each in self.totals.values()),
        )
        if unsure:
            yield f"{counted(unsure, 'job')} may be there twice: a run was cut short, and the broker cannot look up."
        if lost := self.unverified - unsure:
            yield f"{counted(lost, 'job')} left the source by another way before they were removed: maybe done twice."
        if held:
            yield f"{counted(held, 'job')} held by workers at the source: what they retry or reject, another run moves."
        if self.trouble:
            yield f"{self.trouble} {self.journal} knows how far it came: run the same command again."
        if self.is_complete:
            yield "All moved."
        elif not self.is_over and not self.trouble:
            yield "Not all is moved: run the same command again to go on."
