"""Fakes for the command line: a backend in memory, and a way to run commands as the console script does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

import pytest

from littleq.backends.base import Accounts, TruthTable
from littleq.backends.capabilities import LEDGER_ACCOUNTS, Capabilities, Fact
from littleq.backends.letters import DeadLetter, LetterFilter, Whereabouts
from littleq.backends.stub.capabilities import CAPABILITIES
from littleq.cli.options import Session
from littleq.config import Config
from littleq.dead_letters import Group, grouped, passes
from littleq.ledger.memory import MemoryLedger

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
    """Dead letters in a list; a replayed one is handed to `on_replay`, which may let it die again.

    Attributes:
        counts: whether it can tell how many there are.
        places: where replayed jobs are, by letter id; done unless said otherwise.
        hidden: the same, found by a search only.
        clock: the time by which `now` goes.
    """

    dead: list[DeadLetter] = field(default_factory=list)
    replayed: list[str] = field(default_factory=list)
    on_replay: Callable[[DeadLetter], None] = lambda _: None
    counts: bool = True
    places: dict[str, Whereabouts] = field(default_factory=dict)
    hidden: dict[str, Whereabouts] = field(default_factory=dict)
    searches: int = 0
    clock: float = 1_800_000_000.0

    def now(self) -> float:
        return self.clock

    def letters(self, queue: str, **wanted: Unpack[LetterFilter]) -> Iterator[DeadLetter]:
        at = 0.0
        while True:
            later = [
                letter
                for letter in self.dead
                if letter.queue == queue and letter.died_at > at and passes(letter, wanted)
            ]
            if not later:
                return
            first = min(later, key=lambda letter: letter.died_at)
            at = first.died_at
            yield first

    def letter_ids(self, queue: str, **wanted: Unpack[LetterFilter]) -> Iterator[str]:
        return (letter.letter_id for letter in self.letters(queue, **wanted))

    def count(self, queue: str, **wanted: Unpack[LetterFilter]) -> int | None:
        return sum(1 for _ in self.letters(queue, **wanted)) if self.counts else None

    def groups(self, queue: str, **wanted: Unpack[LetterFilter]) -> Sequence[Group]:
        return grouped(self.letters(queue, **wanted))

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

    def whereabouts(
        self, queue: str, letters: Collection[DeadLetter], *, thorough: bool = False
    ) -> Mapping[str, Whereabouts]:
        self.searches += thorough
        known = {**self.hidden, **self.places} if thorough else self.places
        return {letter.letter_id: known.get(letter.letter_id, "gone") for letter in letters}

    def purge(self, queue: str, letter_ids: Iterable[str]) -> int:
        wanted = set(letter_ids)
        before = len(self.dead)
        self.dead = [
            letter for letter in self.dead if letter.queue != queue or letter.letter_id not in wanted
        ]
        return before - len(self.dead)

    def expire(self, queue: str, older_than_seconds: float) -> int:
        return self.purge(queue, list(self.letter_ids(queue, until=self.clock - older_than_seconds)))


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
    capabilities: Capabilities = CAPABILITIES

    def keep_no_accounts(self) -> None:
        """Leave them to the ledger, as RabbitMQ, SQS and Kafka do."""
        self.capabilities = replace(CAPABILITIES, accounts=LEDGER_ACCOUNTS)

    def become_able(self) -> None:
        """Keep delayed jobs and pause queues, as LittleQ's RedisBroker does."""
        self.schedule, self.controls = FakeSchedule(), FakeControls()
        yes = Fact(True, "Yes.")
        self.capabilities = replace(self.capabilities, pause=yes, cancel=yes, due_times=yes)

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
    opened = Session(Config(url="stub://"), None, fake, MemoryLedger())  # type: ignore[arg-type]
    for module in ("audit", "queue", "selection"):
        monkeypatch.setattr(f"littleq.cli.{module}.session", lambda *_: opened)
    return fake


@pytest.fixture
def two_accidents(backend: FakeBackend) -> tuple[DeadLetter, ...]:
    """Three letters of `send` in mail, one of `fetch` in batch."""
    other = {"queue": "batch", "actor": "fetch", "death": {"reason": "poison", "attempts": 1}}
    letters = (*(make_letter(number) for number in range(3)), make_letter(3, **other))
    backend.bury(*letters)
    return letters


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
