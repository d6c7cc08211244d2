"""An app of the suite in this process, and its worker processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from dramatiq import Message, Worker

from littleq.backends import backend_for
from littleq.backends.base import TruthTable
from littleq.backends.capabilities import Capabilities
from littleq.middleware import Overloaded
from tests.conformance.brokers.crew import Crew, Log, entry
from tests.conformance.brokers.subjects import Subject
from tests.support import eventually

#: What a machine with other things to do may add to any time, in seconds.
SLACK = 3.0


class App:
    """A broker with the stack, as one process of a fleet has it."""

    def __init__(self, subject: Subject, crew: Crew) -> None:
        self.subject, self.crew = subject, crew
        self.folder = Path(crew.folder)
        self.broker = crew.installed()
        self.backend = backend_for(self.broker)
        self._worker: Worker | None = None

    @property
    def can(self) -> Capabilities:
        return self.backend.capabilities

    def work(self, *queues: str, threads: int = 4) -> None:
        self._worker = Worker(
            self.broker, queues=set(queues) or None, worker_timeout=100, worker_threads=threads
        )
        self._worker.start()

    def rest(self) -> None:
        """Stop the worker."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop(timeout=20_000)

    def message(self, queue: str, number: int, *what: Any, **options: Any) -> Message[Any]:
        message: Message[Any] = self.broker.get_actor(f"act-{queue}").message_with_options(
            args=(number, *what), **options
        )
        return message

    def send(
        self, queue: str, number: int, *what: Any, delay: int | None = None, **options: Any
    ) -> Message[Any]:
        return self.broker.enqueue(self.message(queue, number, *what, **options), delay=delay)

    def fill(self, queue: str, most: int) -> int:
        """Send until the queue is full, or `most`; how many got in."""
        admitted = 0
        for number in range(most):
            with suppress(Overloaded):
                self.send(queue, number)
                admitted += 1
        return admitted

    def truth(self, queue: str) -> TruthTable:
        return self.backend.inspector.truth([queue])[queue]

    def settled(self, queue: str) -> bool:
        truth = self.truth(queue)
        return truth.number_in_system + truth.delayed == 0

    def until(self, check: Callable[[], Any], seconds: float = 15.0, what: str = "it") -> Any:
        return eventually(check, seconds, what)

    def log(self, queue: str, event: str | None = None) -> list[dict[str, Any]]:
        return Log(self.folder, queue).lines(event)

    def numbers(self, queue: str, event: str = "ended") -> list[int]:
        return [line["n"] for line in self.log(queue, event)]

    def ran(self, queue: str, *numbers: int, seconds: float = 15.0) -> None:
        """Wait until these jobs have run."""
        self.until(
            lambda: set(numbers) <= set(self.numbers(queue)), seconds, f"the end of {numbers} in {queue}"
        )

    def letters(self, queue: str, jobs: int, seconds: float = 15.0) -> list[Any]:
        """Wait for so many dead letters."""

        def found() -> list[Any] | None:
            letters = list(self.backend.dead_letters.letters(queue))
            return letters if len(letters) >= jobs else None

        return list(self.until(found, seconds, f"dead letter {jobs} in {queue}"))

    def totals(self, queue: str) -> dict[str, float]:
        """What the ledger counted of a queue."""
        self.broker.littleq_gate.admission.recorder.flush()  # type: ignore[attr-defined]
        ledger = self.broker.littleq_gate.admission.recorder._ledger  # type: ignore[attr-defined]
        return dict(ledger.snapshot().queue(queue).totals)

    def touch(self, name: str) -> None:
        (self.folder / name).touch()

    def close(self) -> None:
        self.rest()
        self.broker.littleq_gate.admission.recorder.close()  # type: ignore[attr-defined]
        self.broker.close()


class Hand:
    """A process of `crew.ENTRIES`."""

    def __init__(self, crew: Crew, name: str, kind: str) -> None:
        script = entry(kind, Path(crew.folder))
        cli = ("-m", "dramatiq", script.stem, "--path", crew.folder, "--processes", "1")
        command = (*cli, "--threads", str(crew.threads)) if kind == "works" else (str(script),)
        self.log = Path(crew.folder) / f"{name}.out"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                env={**os.environ, **crew.environment},
                cwd=crew.folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if kind == "sends" else out,
                stderr=out,
                text=True,
                start_new_session=True,
            )

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


class Stage:
    """One broker with all that its tests share. What takes its time begins at once, and tests come for its end."""

    def __init__(self, subject: Subject, folder: Path, ledger_url: str | None) -> None:
        self.subject, self.folder = subject, folder
        self.token = uuid.uuid4().hex[:6]
        self.crew = Crew(
            subject=subject.name,
            url=subject.url,
            folder=str(folder),
            queues={},
            settings=dict(subject.settings),
            ledger_url=ledger_url,
        )
        self._apps: list[App] = []
        self._hands: list[Hand] = []
        self._at_close: list[Callable[[], None]] = []
        self._number = 0

    def queue(self, fact: str) -> str:
        """A name that no other test uses."""
        self._number += 1
        return f"{fact}-{self.token}{self._number}"

    def app(self, queues: dict[str, dict[str, Any]]) -> App:
        self._apps.append(App(self.subject, replace(self.crew, queues=queues)))
        return self._apps[-1]

    def fresh(self, fact: str, **settings: Any) -> tuple[App, str]:
        """An app with a queue of its own, and no worker."""
        queue = self.queue(fact)
        return self.app(
            {queue: {"admission": "off", **settings} if "arrival_rate" not in settings else settings}
        ), queue

    def hand(
        self, queue: str, settings: dict[str, Any], *, name: str = "", kind: str = "works", **crew: Any
    ) -> Hand:
        """A process for one queue."""
        self._hands.append(Hand(replace(self.crew, queues={queue: settings}, **crew), name or queue, kind))
        return self._hands[-1]

    def at_close(self, call: Callable[[], None]) -> None:
        """To be done when all of this has ended."""
        self._at_close.append(call)

    def close(self) -> None:
        for hand in self._hands:
            hand.kill()
        for app in self._apps:
            app.close()
        for call in self._at_close:
            call()
