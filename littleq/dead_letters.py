"""Dead letters as a human looks at them: which of ten thousand are the same accident.

Pure. Two letters share a fingerprint when the same actor died for the same reason, of the same exception,
raised at the same place. Arguments, messages, attempts and times do not count, nor does where the code is
installed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from littleq.backends.letters import DeadLetter, LetterFilter
    from littleq.job import Death

_FRAME = re.compile(r'^\s*File "([^"]+)", line (\d+)(?:, in (\S+))?', re.MULTILINE)
#: Path components of the failing file that are kept: enough to find it, too few to tell hosts apart.
_PATH_PARTS = 2

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What makes dead letters the same accident.

    Attributes:
        place: where the exception was raised, `actors/mail.py:12 in send`; empty when no traceback was kept.
    """

    actor: str
    reason: str
    exception: str
    place: str

    @property
    def key(self) -> str:
        """A short name for it, the same in every process and version: 8 hex digits."""
        parts = "\0".join((self.actor, self.reason, self.exception, self.place))
        return hashlib.blake2s(parts.encode(errors="replace"), digest_size=4).hexdigest()


def fingerprint(letter: DeadLetter) -> Fingerprint:
    """The fingerprint of a dead letter."""
    return fingerprint_of(letter.actor, letter.death)


def fingerprint_of(actor: str, death: Death) -> Fingerprint:
    """The fingerprint of a job of `actor` that died so: what an index is told in the step in which the job dies."""
    return Fingerprint(
        actor=actor,
        reason=death.get("reason") or UNKNOWN,
        exception=death.get("exception") or "",
        place=raised_at(death.get("traceback") or ""),
    )


def raised_at(traceback: str) -> str:
    """The place of the last frame in a formatted traceback: of a chain, the exception that got out.

    >>> raised_at('Traceback …:\\n  File "/srv/app/actors/mail.py", line 12, in send\\n    1/0')
    'actors/mail.py:12 in send'
    >>> raised_at("")
    ''
    """
    frames = _FRAME.findall(traceback)
    if not frames:
        return ""
    path, line, function = frames[-1]
    short = "/".join(path.replace("\\", "/").split("/")[-_PATH_PARTS:]).lstrip("/")
    return f"{short}:{line}" + (f" in {function}" if function else "")


def passes(letter: DeadLetter, wanted: LetterFilter) -> bool:
    """Whether a letter is one of those that are wanted."""
    actor, key = wanted.get("actor"), wanted.get("fingerprint")
    since, until = wanted.get("since"), wanted.get("until")
    return (
        (actor is None or letter.actor == actor)
        and (since is None or letter.died_at >= since)
        and (until is None or letter.died_at < until)
        and (key is None or fingerprint(letter).key == key)
    )


@dataclass(frozen=True, slots=True)
class Group:
    """All letters of one fingerprint in one queue.

    Attributes:
        letters: how many.
        first_at, last_at: when the first and the last of them died, s since the epoch.
        example: the letter that died last, to look at.
    """

    queue: str
    fingerprint: Fingerprint
    letters: int
    first_at: float
    last_at: float
    example: DeadLetter


@dataclass(slots=True)
class Groups:
    """Groups letters as they stream by; memory grows with the accidents, not with the letters."""

    _found: dict[tuple[str, Fingerprint], Group] = field(default_factory=dict)

    def add(self, letter: DeadLetter) -> None:
        """Count one letter."""
        mark = fingerprint(letter)
        at = letter.died_at
        group = self._found.get((letter.queue, mark))
        if group is None:
            self._found[letter.queue, mark] = Group(letter.queue, mark, 1, at, at, letter)
            return
        self._found[letter.queue, mark] = replace(
            group,
            letters=group.letters + 1,
            first_at=min(group.first_at, at),
            last_at=max(group.last_at, at),
            example=letter if at >= group.last_at else group.example,
        )

    def ranked(self) -> list[Group]:
        """The groups, the most letters first."""
        return ranked(self._found.values())


def ranked(groups: Iterable[Group]) -> list[Group]:
    """The most letters first; of equals, the one that happened last."""
    return sorted(groups, key=lambda group: (-group.letters, -group.last_at))


def grouped(letters: Iterable[DeadLetter]) -> list[Group]:
    """The groups of these letters, the most letters first."""
    groups = Groups()
    for letter in letters:
        groups.add(letter)
    return groups.ranked()
