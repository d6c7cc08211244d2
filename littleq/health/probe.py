"""What `littleq health` answers, without the imports of a command line: it is started every few seconds in each pod."""

from __future__ import annotations

import time
from typing import NamedTuple

from littleq.health.pulse import FOLDER_VARIABLE, folder
from littleq.health.readings import read
from littleq.health.verdict import judge

YES, NO, NOBODY = 0, 1, 2


class Answer(NamedTuple):
    """A line to print, and the exit code; a complaint where nobody is here to speak of."""

    line: str
    code: int


def probe(*, live: bool, as_json: bool = False) -> Answer:
    """Ask the pulse files of this user.

    Args:
        live: whether the workers live; else whether they are ready.
        as_json: answer by an object.
    """
    place = folder()
    try:
        found = judge(read(place), time.monotonic(), live=live)
    except PermissionError as error:
        return Answer(
            f"littleq: {error.filename or place} may not be read: run this as the user of the worker, or set "
            f"{FOLDER_VARIABLE}.",
            NOBODY,
        )
    word = ("alive" if live else "ready") if found.ok else ("not alive" if live else "not ready")
    code = YES if found.ok else NO if found.known else NOBODY
    if as_json:
        import json  # noqa: PLC0415 - only here

        return Answer(json.dumps({"ok": found.ok, "state": word, "reason": found.reason}), code)
    if not found.known:
        return Answer(
            f"littleq: No worker has said in {place} that it lives: start one with `littleq worker`, or set "
            f"{FOLDER_VARIABLE} to the folder that the worker has.",
            NOBODY,
        )
    return Answer(f"{word.capitalize()}: {found.reason}", code)


def run_quickly(arguments: list[str]) -> Answer | None:
    """The answer to a plain `littleq health`; None: it is another command, or wants more of the command line."""
    if arguments[:1] != ["health"] or not set(arguments[1:]) <= {"--live", "--json"}:
        return None
    return probe(live="--live" in arguments, as_json="--json" in arguments)
