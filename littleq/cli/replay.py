"""`littleq dlq replay`: dead letters go back to their queues, paced, a few canaries first."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from littleq.cli import options
from littleq.cli.selection import Filters, Selection, filter_options, once, select
from littleq.cli.show import counted, seconds
from littleq.cli.terminal import make_console, progress_bar

if TYPE_CHECKING:
    from littleq.backends.letters import DeadLetter, DeadLetterStore
    from littleq.cli.pace import Pace

#: Somewhat arbitrary, letters per second: few of them crowd nobody out, and hundreds are done in a minute.
DEFAULT_RATE = 10.0
#: Long enough for the first retries of a schedule that begins with seconds.
DEFAULT_PATIENCE = 60.0
#: Grain of a time of death on some brokers, in seconds.
DATED_TO_SECONDS = 0.001


@click.command()
@filter_options
@click.option("--all", "everything", is_flag=True, help="Every letter that passes the filters.")
@click.option(
    "--rate",
    type=options.RATE,
    metavar="RATE",
    show_default="10/s",
    help="How fast, whatever the queue holds.",
)
@click.option(
    "--within-sla", is_flag=True, help="As fast as the queue starts them within its SLA, instead of --rate."
)
@click.option(
    "--canary", type=options.COUNT, metavar="N", help="N letters first; the others once those are done."
)
@click.option(
    "--patience",
    type=options.DURATION,
    metavar="TIME",
    show_default="60s",
    help="How long canaries may take, retries included.",
)
@click.option("--dry-run", is_flag=True, help="Only tell what would be replayed.")
@click.argument("letter_ids", nargs=-1, metavar="[LETTERS]...")
def replay(
    *,
    filters: Filters,
    everything: bool,
    rate: float | None,
    within_sla: bool,
    canary: int | None,
    patience: float | None,
    dry_run: bool,
    letter_ids: tuple[str, ...],
) -> None:
    """Put dead letters back to their queues.

    Each gets a fresh set of attempts and moves in a single step of the broker: interrupt this and start it
    again at will. Paced, so that the dead do not crowd out the living, for they are never refused. A letter
    that dies again meanwhile is not replayed twice.

    With --canary, exit code 1 and no further replay if one of the first N is dead again, or not done in time.
    """
    if within_sla and rate is not None:
        raise click.UsageError("--within-sla finds the rate itself: leave --rate out, or --within-sla.")
    if patience is not None and canary is None:
        raise click.UsageError("--patience is the time that canaries have: say how many with --canary.")
    selection = select(filters)
    letters = once(selection.chosen(letter_ids, everything))
    if dry_run:
        _tell(selection, letters, canary, within_sla=within_sla)
    else:
        total = len(letter_ids) or selection.count()
        pace = _pace(selection, None if within_sla else rate or DEFAULT_RATE)
        errand = _Replay(selection.opened.backend.dead_letters, letters, pace, total)
        stopped = errand.run(canary, patience or DEFAULT_PATIENCE)
        if stopped:
            click.echo(f"littleq: {stopped}", err=True)
            click.get_current_context().exit(1)
    selection.report_missing()


def _pace(selection: Selection, rate: float | None) -> Pace:
    from littleq.cli.pace import AtRate, Headroom, WithinSLA

    if rate is not None:
        return AtRate(rate)
    return WithinSLA(Headroom(selection.opened), lambda line: click.echo(f"littleq: {line}", err=True))


def _tell(
    selection: Selection, letters: Iterator[DeadLetter], canary: int | None, *, within_sla: bool
) -> None:
    from littleq.cli import letters as show
    from littleq.cli.pace import Headroom

    console, queues = make_console(), dict.fromkeys(selection.queues, 0)
    for letter in letters:
        queues[letter.queue] += 1
        show.print_letter(console, letter, selection.now)
    count = sum(queues.values())
    canaries = f", the first {min(canary, count):,} as canaries" if canary and count else ""
    click.echo(f"{counted(count, 'dead letter')} would be replayed{canaries}.")
    look = Headroom(selection.opened)
    for queue in (name for name, found in queues.items() if found and within_sla):
        room = look(queue)
        click.echo(f"{queue} has room for {counted(room.jobs, 'of them', 'of them')} now: {room.reason}.")


@dataclass
class _Replay:
    """One run of the command."""

    store: DeadLetterStore
    letters: Iterator[DeadLetter]
    pace: Pace
    total: int | None
    replayed: int = 0
    gone: int = 0

    def run(self, canaries: int | None, patience: float) -> str | None:
        """Replay, and tell how many; why it stopped, if canaries did not do well."""
        try:
            with progress_bar("replaying", self.total) as advance:
                back = self._put_back(advance)
                if canaries is not None:
                    since = self.store.now() - DATED_TO_SECONDS
                    stopped = self._watch(list(itertools.islice(back, canaries)), since, patience)
                    if stopped:
                        return stopped
                for _ in back:
                    pass
            return None
        finally:
            already = f"; {self.gone:,} were gone already" if self.gone else ""
            click.echo(f"{counted(self.replayed, 'dead letter')} replayed{already}.")

    def _put_back(self, advance: Callable[[str], None]) -> Iterator[DeadLetter]:
        """Those that are back in their queue."""
        for letter in self.letters:
            self.pace.wait(letter.queue)
            if self.store.replay(letter.queue, letter.letter_id):
                self.replayed += 1
                yield letter
            else:
                self.gone += 1
            advance(f"{self.replayed:,} replayed")

    def _watch(self, canaries: list[DeadLetter], since: float, patience: float) -> str | None:
        from littleq.cli.canary import CanaryWatch

        if not canaries:
            return None
        many = counted(len(canaries), "canary", "canaries")
        click.echo(f"littleq: {many} replayed, watched for up to {seconds(patience)}.", err=True)
        verdict = CanaryWatch(self.store, canaries, since).verdict(patience)
        if not verdict.is_good:
            return verdict.sentence(len(canaries), patience)
        click.echo(f"littleq: {many} done.", err=True)
        return None
