"""Which dead letters a command is about."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from littleq.cli.options import Session, session

if TYPE_CHECKING:
    from littleq.backends.base import DeadLetter


@dataclass
class Selection:
    """Which letters a command is about, streamed, oldest first in each queue.

    Attributes:
        missing: ids that no queue holds, once they have been looked for.
    """

    opened: Session
    queues: list[str]
    actor: str | None
    fingerprint: str | None
    missing: list[str] = field(default_factory=list)

    def size(self) -> int | None:
        """How many letters there are, as long as no filter hides some."""
        if self.actor is not None or self.fingerprint is not None:
            return None
        return sum(table.dead for table in self.opened.backend.inspector.truth(self.queues).values())

    def all(self) -> Iterator[DeadLetter]:
        """The letters that pass the filters, of those that are dead now: not one more than there are."""
        tables = self.opened.backend.inspector.truth(self.queues)
        for queue in self.queues:
            table = tables[queue]
            dead = None if "dead" in table.approximate else table.dead
            letters = itertools.islice(self.opened.backend.dead_letters.letters(queue), dead)
            yield from filter(self._wants, letters)

    def named(self, letter_ids: tuple[str, ...]) -> Iterator[DeadLetter]:
        """The letters of these ids that pass the filters."""
        store = self.opened.backend.dead_letters
        for letter_id in dict.fromkeys(letter_ids):
            found = (store.get(queue, letter_id) for queue in self.queues)
            letter = next((letter for letter in found if letter is not None), None)
            if letter is None:
                self.missing.append(letter_id)
            elif self._wants(letter):
                yield letter

    def chosen(self, letter_ids: tuple[str, ...], everything: bool) -> Iterator[DeadLetter]:
        """The named letters, or all; exactly one of both must be asked for."""
        if bool(letter_ids) == everything:
            raise click.UsageError("Give the ids of letters, or --all for every one that passes the filters.")
        return self.all() if everything else self.named(letter_ids)

    def report_missing(self) -> None:
        """Exit 1, with a sentence, when an id was not found."""
        if self.missing:
            where = "that queue" if len(self.queues) == 1 else "any queue"
            click.echo(f"littleq: not (or no longer) in {where}: {', '.join(self.missing)}.", err=True)
            click.get_current_context().exit(1)

    def _wants(self, letter: DeadLetter) -> bool:
        from littleq.dead_letters import fingerprint

        if self.actor is not None and letter.actor != self.actor:
            return False
        return self.fingerprint is None or fingerprint(letter).key == self.fingerprint


def select(
    url: str | None,
    config_file: Path | None,
    queues: tuple[str, ...],
    actor: str | None = None,
    fingerprint: str | None = None,
) -> Selection:
    """The letters of these queues (default: all) that pass the filters."""
    opened = session(url, config_file)
    return Selection(opened, opened.queues(queues), actor, fingerprint)


def once(letters: Iterator[DeadLetter]) -> Iterator[DeadLetter]:
    """Each job at most once: one that is replayed may die again, and come by again, while we still read."""
    seen: set[str] = set()
    for letter in letters:
        if letter.message_id not in seen:
            seen.add(letter.message_id)
            yield letter
