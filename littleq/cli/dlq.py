"""`littleq dlq`: look at the dead, send them back, or bury them."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from littleq.cli import options
from littleq.cli.replay import replay
from littleq.cli.selection import Filters, Selection, filter_options, one_of_both, select
from littleq.cli.show import counted
from littleq.cli.terminal import echo_json, make_console

#: Letters deleted in one round trip.
PURGE_CHUNK = 500


@click.group(cls=options.InOrder)
def dlq() -> None:
    """Look at dead letters, send them back to their queue, or delete them.

    A job is dead-lettered when its retries are exhausted, when a route or a middleware refuses it, or when it
    keeps killing its workers. It is kept until you replay or purge it, or for as long as dead_retention_seconds
    of its queue says.

    \b
      littleq dlq list --group                   what went wrong, by accident
      littleq dlq list --fingerprint 9f3a11c2    the letters of one
      littleq dlq show LETTER                    arguments and traceback
      littleq dlq replay --all --fingerprint 9f3a11c2 --within-sla --canary 3
      littleq dlq purge --all --until 30d
    """


@dlq.command(name="list")
@filter_options
@click.option("--group", "by_group", is_flag=True, help="By accident: actor, reason, exception, place.")
@click.option("--limit", type=options.COUNT, metavar="N", help="At most N letters (or groups).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for scripts.")
def list_letters(*, filters: Filters, by_group: bool, limit: int | None, as_json: bool) -> None:
    """List dead letters, oldest first, or group them by accident."""
    from littleq.cli import letters as show

    selection, shown, console = select(filters), 0, make_console()
    if by_group:
        groups = selection.groups()
        for group in groups[:limit]:
            echo_json(show.group_record(group)) if as_json else show.print_group(
                console, group, selection.now
            )
        dead, shown = sum(group.letters for group in groups), len(groups[:limit])
        summary = f"{counted(dead, 'dead letter')} in {counted(len(groups), 'group')}"
    else:
        for letter in itertools.islice(selection.all(), limit):
            shown += 1
            echo_json(show.letter_record(letter)) if as_json else show.print_letter(
                console, letter, selection.now
            )
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

    selection = select(Filters(url, config_file, queues))
    for letter in selection.named((letter_id,)):
        echo_json(shown.letter_record(letter)) if as_json else shown.print_details(make_console(), letter)
    selection.report_missing()


dlq.add_command(replay)


@dlq.command()
@filter_options
@click.option("--all", "everything", is_flag=True, help="Every letter that passes the filters.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.argument("letter_ids", nargs=-1, metavar="[LETTERS]...")
def purge(*, filters: Filters, everything: bool, yes: bool, letter_ids: tuple[str, ...]) -> None:
    """Delete dead letters for good. They count as purged in `littleq audit`."""
    one_of_both(letter_ids, everything)
    selection = select(filters)
    if everything:
        dead = selection.counts()
        if yes or _is_sure({queue: count for queue, count in dead.items() if count != 0}):
            _purge(selection, _all_of(selection, dead))
        else:
            _purge(selection, iter(()))
    else:
        named = [(letter.queue, letter.letter_id) for letter in selection.named(letter_ids)]
        by_queue = {queue: sum(1 for name, _ in named if name == queue) for queue, _ in named}
        _purge(selection, iter(named if yes or _is_sure(by_queue) else ()))
    selection.report_missing()


def _all_of(selection: Selection, dead: Mapping[str, int | None]) -> Iterator[tuple[str, str]]:
    """Queue and id of what was dead when it was counted, streamed: one that dies afterwards is not meant."""
    store = selection.opened.backend.dead_letters
    for queue, count in dead.items():
        for letter_id in itertools.islice(store.letter_ids(queue, **selection.wanted), count):
            yield queue, letter_id


def _is_sure(dead: Mapping[str, int | None]) -> bool:
    if not dead:
        return True
    count = sum(filter(None, dead.values()))
    what = "all dead letters" if None in dead.values() else counted(count, "dead letter")
    try:
        return click.confirm(f"Delete {what} of {', '.join(sorted(dead))} for good?")
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise click.UsageError("Nobody answers whether to delete them: add --yes.") from None


def _purge(selection: Selection, found: Iterator[tuple[str, str]]) -> None:
    store, purged = selection.opened.backend.dead_letters, 0
    try:
        for queue, pairs in itertools.groupby(found, key=lambda pair: pair[0]):
            ids = (letter_id for _, letter_id in pairs)
            while chunk := list(itertools.islice(ids, PURGE_CHUNK)):
                gone = store.purge(queue, chunk)
                purged += gone
                selection.opened.count_purged(queue, gone)
    finally:
        click.echo(f"{counted(purged, 'dead letter')} purged.")
