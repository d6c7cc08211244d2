"""`littleq dlq`: look at the dead, send them back, or bury them."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from littleq.cli import options
from littleq.cli.options import Command
from littleq.cli.selection import Selection, once, select
from littleq.cli.show import counted
from littleq.cli.terminal import echo_json, make_console, progress_bar

if TYPE_CHECKING:
    from littleq.backends.base import DeadLetter

#: Letters deleted in one round trip.
PURGE_CHUNK = 500


class InOrder(click.Group):
    """Lists its commands in the order of their use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=InOrder)
def dlq() -> None:
    """Look at dead letters, send them back to their queue, or delete them.

    A job is dead-lettered when its retries are exhausted, when a route or a middleware refuses it, or when it
    keeps killing its workers. It is kept until you replay or purge it.

    \b
      littleq dlq list --group                   what went wrong, by accident
      littleq dlq list --fingerprint 9f3a11c2    the letters of one
      littleq dlq show LETTER                    arguments and traceback
      littleq dlq replay --all --fingerprint 9f3a11c2 --dry-run
      littleq dlq purge --all --actor fetch
    """


def filter_options(command: Command) -> Command:
    """`--queue`, `--actor`, `--fingerprint`, and the connection."""
    for option in (
        options.connection_options,
        click.option("--fingerprint", metavar="KEY", help="Only this accident (see list --group)."),
        click.option("--actor", metavar="NAME", help="Only letters of this actor."),
        options.queues_option("Only this queue; may be repeated. Default: all queues."),
    ):
        command = option(command)
    return command


@dlq.command(name="list")
@filter_options
@click.option("--group", "by_group", is_flag=True, help="By accident: actor, reason, exception, place.")
@click.option("--limit", type=options.COUNT, metavar="N", help="At most N letters (or groups).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for scripts.")
def list_letters(
    *,
    url: str | None,
    config_file: Path | None,
    queues: tuple[str, ...],
    actor: str | None,
    fingerprint: str | None,
    by_group: bool,
    limit: int | None,
    as_json: bool,
) -> None:
    """List dead letters, oldest first, or group them by accident."""
    from littleq.cli import letters as show
    from littleq.dead_letters import grouped

    selection, now, shown = select(url, config_file, queues, actor, fingerprint), time.time(), 0
    console = make_console()
    if by_group:
        groups = grouped(selection.all())
        for group in groups[:limit]:
            echo_json(show.group_record(group)) if as_json else show.print_group(console, group, now)
        dead, shown = sum(group.letters for group in groups), len(groups[:limit])
        summary = f"{counted(dead, 'dead letter')} in {counted(len(groups), 'group')}"
    else:
        for letter in itertools.islice(selection.all(), limit):
            shown += 1
            echo_json(show.letter_record(letter)) if as_json else show.print_letter(console, letter, now)
        summary = counted(shown, "dead letter")
    at_most = f" (--limit {limit})" if limit is not None and shown == limit else ""
    click.echo(f"{summary}{at_most}.", err=as_json)


@dlq.command()
@options.connection_options
@options.queues_option("Look only here; may be repeated. Default: all queues.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
@click.argument("letter_id", metavar="LETTER")
def show(
    *, url: str | None, config_file: Path | None, queues: tuple[str, ...], as_json: bool, letter_id: str
) -> None:
    """Show one dead letter: its arguments, why it died, and where."""
    from littleq.cli import letters as shown

    selection = select(url, config_file, queues)
    for letter in selection.named((letter_id,)):
        echo_json(shown.letter_record(letter)) if as_json else shown.print_details(make_console(), letter)
    selection.report_missing()


@dlq.command()
@filter_options
@click.option("--all", "everything", is_flag=True, help="Every letter that passes the filters.")
@click.option(
    "--rate", type=options.RATE, default="10/s", show_default=True, metavar="RATE", help="How fast."
)
@click.option("--dry-run", is_flag=True, help="Only tell what would be replayed.")
@click.argument("letter_ids", nargs=-1, metavar="[LETTERS]...")
def replay(
    *,
    url: str | None,
    config_file: Path | None,
    queues: tuple[str, ...],
    actor: str | None,
    fingerprint: str | None,
    everything: bool,
    rate: float,
    dry_run: bool,
    letter_ids: tuple[str, ...],
) -> None:
    """Put dead letters back to their queues.

    Each gets a fresh set of attempts and moves in a single step of the broker: interrupt this and start it
    again at will. Paced, so that the dead do not crowd out the living, for they are never refused. A letter
    that dies again meanwhile is not replayed twice.
    """
    selection = select(url, config_file, queues, actor, fingerprint)
    letters = once(selection.chosen(letter_ids, everything))
    if dry_run:
        from littleq.cli import letters as show

        count, now, console = 0, time.time(), make_console()
        for letter in letters:
            count += 1
            show.print_letter(console, letter, now)
        click.echo(f"{counted(count, 'dead letter')} would be replayed.")
    else:
        _replay(selection, letters, rate, len(letter_ids) or selection.size())
    selection.report_missing()


def _replay(selection: Selection, letters: Iterator[DeadLetter], rate: float, total: int | None) -> None:
    store, replayed, gone = selection.opened.backend.dead_letters, 0, 0
    start = time.monotonic()
    try:
        with progress_bar("replaying", total) as advance:
            for letter in letters:
                time.sleep(max(0.0, start + (replayed + gone) / rate - time.monotonic()))
                if store.replay(letter.queue, letter.letter_id):
                    replayed += 1
                else:
                    gone += 1
                advance(f"{replayed:,} replayed")
    finally:
        already = f"; {gone:,} were gone already" if gone else ""
        click.echo(f"{counted(replayed, 'dead letter')} replayed{already}.")


@dlq.command()
@filter_options
@click.option("--all", "everything", is_flag=True, help="Every letter that passes the filters.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.argument("letter_ids", nargs=-1, metavar="[LETTERS]...")
def purge(
    *,
    url: str | None,
    config_file: Path | None,
    queues: tuple[str, ...],
    actor: str | None,
    fingerprint: str | None,
    everything: bool,
    yes: bool,
    letter_ids: tuple[str, ...],
) -> None:
    """Delete dead letters for good. They count as purged in `littleq audit`."""
    selection = select(url, config_file, queues, actor, fingerprint)
    found = [(letter.queue, letter.letter_id) for letter in selection.chosen(letter_ids, everything)]
    if found and not yes and not _is_sure(found):
        found = []
    _purge(selection.opened.backend.dead_letters.purge, found)
    selection.report_missing()


def _is_sure(found: list[tuple[str, str]]) -> bool:
    queues = ", ".join(sorted({queue for queue, _ in found}))
    try:
        return click.confirm(f"Delete {counted(len(found), 'dead letter')} of {queues} for good?")
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise click.UsageError("Nobody answers whether to delete them: add --yes.") from None


def _purge(delete: Callable[[str, list[str]], int], found: list[tuple[str, str]]) -> None:
    purged = 0
    try:
        for queue, pairs in itertools.groupby(found, key=lambda pair: pair[0]):
            ids = iter([letter_id for _, letter_id in pairs])
            while chunk := list(itertools.islice(ids, PURGE_CHUNK)):
                purged += delete(queue, chunk)
    finally:
        click.echo(f"{counted(purged, 'dead letter')} purged.")
