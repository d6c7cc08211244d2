"""Which dead letters a command is about."""

from __future__ import annotations

import datetime
import functools
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from littleq.cli import options
from littleq.cli.options import Session, session

if TYPE_CHECKING:
    from littleq.backends.letters import DeadLetter, LetterFilter
    from littleq.dead_letters import Group

    _Moment = click.ParamType["Moment"]
else:  # click 8.1 knows no type arguments
    _Moment = click.ParamType

_AGO = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(s|m|min|h|d|w)")
_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}

#: Longer ago there is no date to show, in seconds: about two thousand years.
LONGEST_AGO_SECONDS = 6e10


@dataclass(frozen=True, slots=True)
class Moment:
    """A time as it was given: so many seconds ago, or since the epoch."""

    seconds: float
    is_ago: bool

    def at(self, now: float) -> float:
        """Seconds since the epoch."""
        return now - self.seconds if self.is_ago else self.seconds


class MomentType(_Moment):
    """`2h`, `30m`, `7d`: so long ago; or a date and time in ISO 8601, local where it names no zone."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Moment:
        if isinstance(value, Moment):
            return value
        text = str(value).strip()
        found = _AGO.fullmatch(text)
        if found and (ago := float(found[1]) * _SECONDS[found[2]]) < LONGEST_AGO_SECONDS:
            return Moment(ago, is_ago=True)
        try:
            return Moment(datetime.datetime.fromisoformat(text).timestamp(), is_ago=False)
        except (ValueError, OverflowError, OSError):  # no date, or none that this machine's clock knows
            self.fail(
                f"{value!r} is no time: give how long ago, such as 30m, 2h or 7d, or a time such as 2026-11-24T08:00.",
                param,
                ctx,
            )


MOMENT = MomentType()


@dataclass
class Selection:
    """Which letters a command is about, streamed, oldest first in each queue.

    Attributes:
        now: by the clock that dates the letters, s since the epoch.
        missing: ids that no queue holds, once they have been looked for.
    """

    opened: Session
    queues: list[str]
    wanted: LetterFilter
    now: float
    missing: list[str] = field(default_factory=list)

    def count(self) -> int | None:
        """How many letters pass the filters; None where the broker cannot tell without reading them all."""
        found = self.counts().values()
        return None if None in found else sum(filter(None, found))

    def counts(self) -> dict[str, int | None]:
        """The same, by queue."""
        store = self.opened.backend.dead_letters
        return {queue: store.count(queue, **self.wanted) for queue in self.queues}

    def all(self) -> Iterator[DeadLetter]:
        """The letters that pass the filters, of those that are dead now: not one more than there are."""
        store = self.opened.backend.dead_letters
        for queue, dead in self.counts().items():
            yield from itertools.islice(store.letters(queue, **self.wanted), dead)

    def groups(self) -> Sequence[Group]:
        """The accidents of all queues, the most letters first."""
        from littleq.dead_letters import ranked

        store = self.opened.backend.dead_letters
        return ranked(group for queue in self.queues for group in store.groups(queue, **self.wanted))

    def named(self, letter_ids: tuple[str, ...]) -> Iterator[DeadLetter]:
        """The letters of these ids that pass the filters."""
        from littleq.dead_letters import passes

        store = self.opened.backend.dead_letters
        for letter_id in dict.fromkeys(letter_ids):
            found = (store.get(queue, letter_id) for queue in self.queues)
            letter = next((letter for letter in found if letter is not None), None)
            if letter is None:
                self.missing.append(letter_id)
            elif passes(letter, self.wanted):
                yield letter

    def chosen(self, letter_ids: tuple[str, ...], everything: bool) -> Iterator[DeadLetter]:
        """The named letters, or all; exactly one of both must be asked for."""
        one_of_both(letter_ids, everything)
        return self.all() if everything else self.named(letter_ids)

    def report_missing(self) -> None:
        """Exit 1, with a sentence, when an id was not found."""
        if self.missing:
            where = "that queue" if len(self.queues) == 1 else "any queue"
            click.echo(f"littleq: not (or no longer) in {where}: {', '.join(self.missing)}.", err=True)
            click.get_current_context().exit(1)


@dataclass(frozen=True, slots=True)
class Filters:
    """What the options of a command say about the letters that it is about."""

    url: str | None
    config_file: Path | None
    queues: tuple[str, ...]
    actor: str | None = None
    fingerprint: str | None = None
    since: Moment | None = None
    until: Moment | None = None


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--queue`, `--actor`, `--fingerprint`, `--since`, `--until` and the connection, as `filters`."""

    @functools.wraps(command)
    def gathered(**values: Any) -> Any:
        filters = Filters(**{each.name: values.pop(each.name) for each in fields(Filters)})
        return command(filters=filters, **values)

    since = "Only letters that died then or later: 2h or 7d (ago), or 2026-11-24T08:00."
    for option in (
        options.connection_options,
        click.option("--until", type=MOMENT, metavar="TIME", help="Only letters that died before then."),
        click.option("--since", type=MOMENT, metavar="TIME", help=since),
        click.option("--fingerprint", metavar="KEY", help="Only this accident (see list --group)."),
        click.option("--actor", metavar="NAME", help="Only letters of this actor."),
        options.queues_option("Only this queue; may be repeated. Default: all queues."),
    ):
        gathered = option(gathered)
    return gathered


def one_of_both(letter_ids: tuple[str, ...], everything: bool) -> None:
    """Letters are named, or all are meant.

    Raises:
        click.UsageError: neither, or both.
    """
    if bool(letter_ids) == everything:
        raise click.UsageError("Give the ids of letters, or --all for every one that passes the filters.")


def select(filters: Filters) -> Selection:
    """The letters that pass these filters.

    Raises:
        click.UsageError: no moment lies between `since` and `until`, or a queue is not known.
    """
    opened = session(filters.url, filters.config_file)
    now = opened.backend.dead_letters.now()
    since = None if filters.since is None else filters.since.at(now)
    until = None if filters.until is None else filters.until.at(now)
    if since is not None and until is not None and since >= until:
        raise click.UsageError("--since is not before --until: no letter died between them.")
    wanted: LetterFilter = {
        "actor": filters.actor,
        "fingerprint": filters.fingerprint,
        "since": since,
        "until": until,
    }
    return Selection(opened, opened.queues(filters.queues), wanted, now)


def once(letters: Iterator[DeadLetter]) -> Iterator[DeadLetter]:
    """Each job at most once: one that is replayed may die again, and come by again, while we still read.

    Remembers hashes of 64 bits, not ids: of a million, two agree once in 37 million replays, and one letter stays dead.
    """
    seen: set[int] = set()
    for letter in letters:
        mark = hash(letter.message_id)
        if mark not in seen:
            seen.add(mark)
            yield letter
