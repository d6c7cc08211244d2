"""How dead letters look: a line, a group, or all of one; and as JSON."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from littleq.cli.show import counted, seconds
from littleq.dead_letters import Group, fingerprint
from littleq.job import OPTION

if TYPE_CHECKING:
    from rich.console import Console

    from littleq.backends.letters import DeadLetter


#: Width from which a terminal shows a letter on one line.
ONE_LINE = 120


def letter_record(letter: DeadLetter) -> dict[str, Any]:
    """A letter for scripts."""
    mark = fingerprint(letter)
    return {
        "letter_id": letter.letter_id,
        "queue": letter.queue,
        "actor": letter.actor,
        "message_id": letter.message_id,
        "args": list(letter.args),
        "kwargs": dict(letter.kwargs),
        "died_at": letter.died_at,
        "death": dict(letter.death),
        "fingerprint": mark.key,
        "place": mark.place,
    }


def group_record(group: Group) -> dict[str, Any]:
    """A group for scripts."""
    mark = group.fingerprint
    return {
        "fingerprint": mark.key,
        "queue": group.queue,
        "actor": mark.actor,
        "reason": mark.reason,
        "exception": mark.exception,
        "place": mark.place,
        "letters": group.letters,
        "first_at": group.first_at,
        "last_at": group.last_at,
        "example": group.example.letter_id,
    }


def print_letter(console: Console, letter: DeadLetter, now: float) -> None:
    """One letter on one line; on two of a narrow terminal, since its id has to be there whole."""
    if not console.is_terminal:  # as below, and ten times as fast: a file may get a million of them
        where = f"{letter.letter_id}  {letter.queue}/{letter.actor}"
        click.echo(f"{where}  {_ago(letter.died_at, now)}  {cause(letter)}")
        return
    head = Text.assemble(
        letter.letter_id,
        (f"  {letter.queue}/{letter.actor}", "bold"),
        (f"  {_ago(letter.died_at, now)}", "dim"),
    )
    is_narrow = console.width < ONE_LINE
    why = Text(f"    {cause(letter)}" if is_narrow else f"  {cause(letter)}")
    for line in (head, why) if is_narrow else (Text.assemble(head, why),):
        console.print(line, no_wrap=True, overflow="ellipsis")


def print_group(console: Console, group: Group, now: float) -> None:
    """One accident in three short lines."""
    mark = group.fingerprint
    head = Text.assemble(
        (f"{group.letters:>7,} × ", "bold red"),
        (f"{group.queue}/{mark.actor}", "bold"),
        f"  {mark.reason}  ",
        (_short(mark.exception), "yellow"),
    )
    pad = " " * 10
    console.print(head, soft_wrap=True)
    if mark.place:
        console.print(Text(f"{pad}at {mark.place}"), soft_wrap=True)
    first, last = _ago(group.first_at, now), _ago(group.last_at, now)
    when = last if first == last else f"{first} to {last}"
    console.print(
        Text.assemble(f"{pad}fingerprint ", (mark.key, "cyan"), (f"  {when}", "dim")), soft_wrap=True
    )


def print_details(console: Console, letter: DeadLetter) -> None:
    """All that is known of one letter."""
    death, mark = letter.death, fingerprint(letter)
    died = datetime.datetime.fromtimestamp(letter.died_at).astimezone().isoformat(sep=" ", timespec="seconds")
    others = {key: value for key, value in letter.options.items() if key not in (OPTION, "traceback")}
    rows = {
        "letter": letter.letter_id,
        "queue": letter.queue,
        "actor": letter.actor,
        "message": letter.message_id,
        "died": f"{died}, after {counted(death.get('attempts', 0), 'attempt')}",
        "why": cause(letter),
        "fingerprint": f"{mark.key}  {mark.place}".rstrip(),
        "args": repr(list(letter.args)),
        "kwargs": repr(dict(letter.kwargs)),
        "options": repr(others),
    }
    for name, value in rows.items():
        console.print(Text.assemble((f"{name:>11}  ", "dim"), value), soft_wrap=True)
    if traceback := death.get("traceback"):
        console.print()
        console.print(Text(traceback.rstrip()), soft_wrap=True)


def cause(letter: DeadLetter) -> str:
    """Why it died, on one line: `exhausted: ValueError: row 7`."""
    death = letter.death
    exception, message = _short(death.get("exception", "")), death.get("message", "").replace("\n", " ")
    error = f"{exception}: {message}" if exception and message else exception or message
    return ": ".join(part for part in (death.get("reason") or "unknown", error) if part)


def _short(exception: str) -> str:
    return exception.removeprefix("builtins.")


def _ago(at: float, now: float) -> str:
    return f"{seconds(max(0.0, float(round(now - at))))} ago"
