"""Fakes for the command line: a backend in memory, and a way to run commands as the console script does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from littleq.backends.base import Accounts, DeadLetter, TruthTable
from littleq.cli.options import Session
from littleq.config import Config

TRACEBACK = 'Traceback (most recent call last):\n  File "/srv/app/shop/mail.py", line 12, in send\n    1/0'


def make_letter(number: int, **changes: Any) -> DeadLetter:
    """The `number`-th dead letter."""
    values: dict[str, Any] = {
        "letter_id": f"letter-{number}",
        "queue": "mail",
        "actor": "send",
        "message_id": f"message-{number}",
        "args": (number,),
        "kwargs": {},
        "options": {"retries": 3, "littleq": {"ready_at": 1.0}},
        "died_at": 1_700_000_000.0 + number,
        "death": {
            "reason": "exhausted",
            "exception": "builtins.ZeroDivisionError",
            "message": "division by zero",
            "traceback": TRACEBACK,
            "attempts": 4,
            "at": 1_700_000_000.0 + number,
        },
    }
    return DeadLetter(**(values | changes))


@pytest.fixture(name="make_letter")
def make_letter_fixture() -> Callable[..., DeadLetter]:
    """`make_letter`, for tests that cannot import this file."""
    return make_letter


@dataclass
class FakeInspector:
    """Truth tables as given; a queue may have several, one for each reading."""

    tables: dict[str, list[TruthTable]] = field(default_factory=dict)
    stranger_counts: dict[str, int] = field(default_factory=dict)
    scans: int = 0

    def queues(self) -> set[str]:
        return set(self.tables)

    def truth(self, queues: Iterable[str]) -> Mapping[str, TruthTable]:
        found = {}
        for queue in queues:
            tables = self.tables.get(queue) or [TruthTable(queue)]
            found[queue] = tables.pop(0) if len(tables) > 1 else tables[0]
        return found

    def strangers(self, queue: str) -> int:
        self.scans += 1
        return self.stranger_counts.get(queue, 0)


@dataclass
class FakeStore:
    """Dead letters in a list; a replayed one is handed to `on_replay`, which may let it die again."""

    dead: list[DeadLetter] = field(default_factory=list)
    replayed: list[str] = field(default_factory=list)
    on_replay: Callable[[DeadLetter], None] = lambda _: None

    def letters(self, queue: str) -> Iterator[DeadLetter]:
        at = 0.0
        while True:
            later = [letter for letter in self.dead if letter.queue == queue and letter.died_at > at]
            if not later:
                return
            first = min(later, key=lambda letter: letter.died_at)
            at = first.died_at
            yield first

    def get(self, queue: str, letter_id: str) -> DeadLetter | None:
        found = (letter for letter in self.dead if (letter.queue, letter.letter_id) == (queue, letter_id))
        return next(found, None)

    def replay(self, queue: str, letter_id: str) -> bool:
        letter = self.get(queue, letter_id)
        if letter is None:
            return False
        self.dead.remove(letter)
        self.replayed.append(letter_id)
        self.on_replay(letter)
        return True

    def purge(self, queue: str, letter_ids: Iterable[str]) -> int:
        wanted = set(letter_ids)
        before = len(self.dead)
        self.dead = [
            letter for letter in self.dead if letter.queue != queue or letter.letter_id not in wanted
        ]
        return before - len(self.dead)


@dataclass
class FakeControls:
    """The paused queues in a set."""

    paused: set[str] = field(default_factory=set)

    def pause(self, queue: str) -> bool:
        changed = queue not in self.paused
        self.paused.add(queue)
        return changed

    def resume(self, queue: str) -> bool:
        changed = queue in self.paused
        self.paused.discard(queue)
        return changed


@dataclass
class FakeSchedule:
    """Delayed jobs as (queue, message id, seconds until due)."""

    jobs: list[tuple[str, str, float]] = field(default_factory=list)

    def due_times(self, queue: str, bounds: Sequence[float]) -> Sequence[int]:
        return [sum(name == queue and due <= bound for name, _, due in self.jobs) for bound in bounds]

    def cancel(self, queue: str, message_id: str) -> int:
        before = len(self.jobs)
        self.jobs = [job for job in self.jobs if job[:2] != (queue, message_id)]
        return before - len(self.jobs)


@dataclass
class FakeBackend:
    name: str = "fake"
    inspector: FakeInspector = field(default_factory=FakeInspector)
    dead_letters: FakeStore = field(default_factory=FakeStore)
    schedule: FakeSchedule | None = None
    controls: FakeControls | None = None

    def become_able(self) -> None:
        """Keep delayed jobs and pause queues, as LittleQ's RedisBroker does."""
        self.schedule, self.controls = FakeSchedule(), FakeControls()

    def bury(self, *letters: DeadLetter) -> None:
        """Let letters be dead, and the truth tables say so."""
        self.dead_letters.dead += letters
        for queue in {letter.queue for letter in letters}:
            dead = sum(letter.queue == queue for letter in self.dead_letters.dead)
            self.inspector.tables[queue] = [TruthTable(queue, dead=dead, accounts=Accounts(admitted=dead))]


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    """The backend that every command finds."""
    fake = FakeBackend()
    opened = Session(Config(url="stub://"), None, fake, None)  # type: ignore[arg-type]
    for module in ("audit", "queue", "selection"):
        monkeypatch.setattr(f"littleq.cli.{module}.session", lambda *_: opened)
    return fake


@dataclass
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str


@pytest.fixture
def littleq(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run `littleq ARGS…` in this process, as the console script does."""
    from littleq.cli.root import run

    def call(*args: str) -> Answer:
        capsys.readouterr()
        code = run(args)
        out, err = capsys.readouterr()
        return Answer(code, out, err)

    return call


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Write a module of actors called `app_under_test`; environment, path and global broker are put back."""
    import dramatiq.broker

    for name in ("LITTLEQ_URL", "LITTLEQ_CONFIG"):
        monkeypatch.setenv(name, "")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(dramatiq.broker, "global_broker", None)

    def write(source: str) -> str:
        (tmp_path / "app_under_test.py").write_text(source)
        return "app_under_test"

    yield write
    sys.modules.pop("app_under_test", None)
