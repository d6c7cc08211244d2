"""`littleq move`: the jobs of a queue go from one broker to another."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from littleq.cli import options
from littleq.cli.moved import Result, remaining
from littleq.cli.root import explain
from littleq.cli.show import counted
from littleq.cli.terminal import echo_json, make_console
from littleq.redaction import redact_url

if TYPE_CHECKING:
    from dramatiq import Broker

    from littleq.backends.base import TruthTable
    from littleq.backends.transfer import Kind
    from littleq.moving import Mover
    from littleq.moving.counting import End
    from littleq.moving.journal import Journal

URL = "HOST:PORT|URL"
#: Between two looks at a source that has something left, in seconds.
LOOK_SECONDS = 0.5


@click.command()
@click.option(
    "--from", "source_url", type=options.BROKER_URL, required=True, metavar=URL, help="Where the jobs are."
)
@click.option(
    "--to", "target_url", type=options.BROKER_URL, required=True, metavar=URL, help="Where they shall be."
)
@click.option("--queue", "-q", required=True, metavar="QUEUE", help="Whose jobs.")
@click.option("--from-namespace", metavar="NAME", help="Instead of the configured one.")
@click.option("--to-namespace", metavar="NAME", help="Instead of the configured one.")
@click.option(
    "--journal",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="What is written down meanwhile. Default: littleq-move-QUEUE.journal in this folder.",
)
@click.option(
    "--rate", type=options.RATE, metavar="RATE", help="Jobs per second at most. Default: as fast as it goes."
)
@click.option(
    "--wait",
    type=options.DURATION,
    metavar="TIME",
    help="How long to wait for what workers hold, or what cannot be seen yet.",
)
@click.option("--dry-run", is_flag=True, help="Only count what would be moved.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration, instead of the littleq.toml that is found.",
)
def move(
    *,
    source_url: str,
    target_url: str,
    queue: str,
    from_namespace: str | None,
    to_namespace: str | None,
    journal: Path | None,
    rate: float | None,
    wait: float | None,
    dry_run: bool,
    as_json: bool,
    config_file: Path | None,
) -> None:
    """Move the ready, delayed and dead jobs of a queue to another broker.

    Switch the senders first; workers may go on at both ends. Each job keeps its id, attempts, due time and the record
    of its death, and is removed from its broker when the other one has confirmed it. Cut short by whatever, the same
    command goes on where it was: nothing is lost, and nothing comes twice but where docs/moving.md says so.

    Exit code: 0 all moved, 1 something is left or could not be verified, 2 bad input, or a server that does not answer.
    """
    source = _side(source_url, from_namespace, config_file)
    target = _side(target_url, to_namespace, config_file)
    if source.place == target.place or (
        source.namespace == target.namespace and source.end.backend.serves(target.end.config.url)
    ):
        raise click.UsageError("--from and --to are the same broker and namespace: there is nothing to move.")
    table = source.truth(queue)
    if dry_run:
        _tell(queue, table, source, target, as_json=as_json)
        return
    path = journal or Path(f"littleq-move-{queue}.journal")
    result = _Move(source, target, queue, path).run(table, rate, wait or 0.0)
    result.show(as_json=as_json)
    if result.interrupted:
        raise KeyboardInterrupt
    click.get_current_context().exit(result.exit_code)


@dataclass(frozen=True)
class Side:
    """One end, opened."""

    end: End
    broker: Broker

    @property
    def namespace(self) -> str:
        return self.end.config.namespace

    @property
    def place(self) -> tuple[str, str]:
        return self.end.config.url, self.namespace

    @property
    def shown(self) -> str:
        url = redact_url(self.end.config.url)
        return url if self.namespace == "dramatiq" else f"{url} ({self.namespace})"

    def truth(self, queue: str) -> TruthTable:
        return self.end.backend.inspector.truth([queue])[queue]


def _side(url: str, namespace: str | None, config_file: Path | None) -> Side:
    from littleq.backends import backend_for
    from littleq.backends.transfer import open_broker
    from littleq.config.sources import load_config
    from littleq.moving.counting import End

    overrides = {"url": url, **({"namespace": namespace} if namespace else {})}
    config = load_config(path=config_file, overrides=overrides)
    broker = open_broker(config)
    return Side(End(config, backend_for(broker)), broker)


def _tell(queue: str, table: TruthTable, source: Side, target: Side, *, as_json: bool) -> None:
    from littleq.backends.transfer import KINDS

    if as_json:
        about = sorted(table.approximate)
        echo_json({"queue": queue, **{kind: getattr(table, kind) for kind in KINDS}, "approximate": about})
        return
    found = ", ".join(
        f"{'about ' if kind in table.approximate else ''}{getattr(table, kind):,} {kind}" for kind in KINDS
    )
    click.echo(f"{queue}: {found} would be moved from {source.shown} to {target.shown}.")
    held = table.in_flight + table.orphaned
    if held:
        click.echo(f"{counted(held, 'job')} held by workers would stay, and be done there.")


class _Move:
    """One run."""

    def __init__(self, source: Side, target: Side, queue: str, path: Path) -> None:
        from littleq.moving import Journal

        self.source, self.target, self.queue = source, target, queue
        ends = {
            "from": redact_url(source.end.config.url),
            "from_namespace": source.namespace,
            "to": redact_url(target.end.config.url),
            "to_namespace": target.namespace,
            "queue": queue,
        }
        self.journal: Journal = Journal(path, ends)

    def run(self, table: TruthTable, rate: float | None, wait: float) -> Result:
        from littleq.backends.transfer import KINDS, open_transfer
        from littleq.moving import Mover

        journal, resumed = self.journal, self.journal.is_resumed
        here, there = (
            open_transfer(side.end.config, side.broker, self.queue, journal.state.move)
            for side in (self.source, self.target)
        )
        before = _verified(journal)
        total = sum(getattr(table, kind) for kind in KINDS)
        trouble = None
        with _progress(self.queue, total) as told:
            mover = Mover(here, there, journal, rate=rate, told=told)
            with _signals(mover) as signals:
                try:
                    mover.run(self._counts)
                    self._wait(mover, time.monotonic() + wait)
                except Exception as error:
                    trouble = explain(error)
                    if trouble is None:
                        raise
        left = table
        with nullcontext() if trouble is None else suppress(Exception):  # it may be the one that is away
            left = self.source.truth(self.queue)
        self._count(_verified(journal) - before)
        result = Result(self.queue, journal.path, journal.state.totals, left, bool(signals), resumed, trouble)
        for end in (here, there):
            with suppress(Exception):  # what had to be kept is kept
                end.close(finished=result.is_complete)
        if result.is_over:
            journal.end()
        journal.close()
        return result

    def _wait(self, mover: Mover, deadline: float) -> None:
        """Go on with what comes, until there is nothing or it is too late."""
        while not mover.stopping and time.monotonic() < deadline and remaining(self.source.truth(self.queue)):
            time.sleep(min(LOOK_SECONDS, max(0.0, deadline - time.monotonic())))
            mover.go_on(self._counts)

    def _counts(self) -> dict[Kind, int]:
        from littleq.backends.transfer import KINDS

        table = self.source.truth(self.queue)
        return {kind: getattr(table, kind) for kind in KINDS}

    def _count(self, jobs: int) -> None:
        from littleq.ledger.base import LedgerUnavailable
        from littleq.moving.counting import count

        state = self.journal.state
        try:
            count(self.source.end, self.target.end, self.queue, jobs, move=state.move, number=state.number)
        except LedgerUnavailable as error:
            missed = f"`littleq audit` will miss {jobs:,} moved jobs"
            click.echo(f"littleq: the ledger does not answer ({error}): {missed}.", err=True)


def _verified(journal: Journal) -> int:
    return sum(each.verified for each in journal.state.totals.values())


@contextmanager
def _signals(mover: Mover) -> Iterator[list[int]]:
    """The first Ctrl-C or SIGTERM ends the move between two batches, the second at once; yields those that came."""
    came: list[int] = []

    def stop(number: int, _frame: object) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)
        mover.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress(title: str, total: int) -> Iterator[Any]:
    """A bar on stderr, if that is a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = make_console(stderr=True)
    columns = (
        TextColumn("moving {task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=total)
        yield lambda _kind, jobs: progress.update(task, advance=jobs)
