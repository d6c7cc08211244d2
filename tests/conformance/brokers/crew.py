"""The suite's jobs, and the processes that run them: everything that happens is a line in a file of its queue."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dramatiq
from dramatiq import Worker
from dramatiq.middleware import CurrentMessage

from littleq import job
from littleq.config import Config, SLAQueueConfig
from littleq.ledger import open_ledger
from littleq.ledger.memory import MemoryLedger
from littleq.middleware import Overloaded
from littleq.stack import install

if TYPE_CHECKING:
    from dramatiq import Broker

    from littleq.ledger import Ledger

#: The environment variable with a `Crew`, as JSON.
CREW = "CONFORMANCE_CREW"

#: How a process of its own begins: some package of the environment is called `tests` too.
_BEGIN = """
import sys, types
tests = sys.modules["tests"] = types.ModuleType("tests")
tests.__path__ = [{folder!r}]
from tests.conformance.brokers import crew
mine = crew.mine()
"""
#: What each kind of process does then.
ENTRIES = {
    "works": "import dramatiq\ndramatiq.set_broker(mine.installed())\n",  # loaded by `dramatiq`
    "comes_again": "crew.work_for_ever(mine)\n",
    "sends": "crew.send_when_told(mine)\n",
}


@dataclass(frozen=True)
class Crew:
    """What a process of the suite must know.

    Attributes:
        subject: a key of `subjects.SUBJECTS`.
        folder: of the logs, and of the files that jobs wait for.
        queues: settings by queue.
        blocks: jobs that are to `block` do so in this process.
        chaos: a seed: the actors are those of `tests.chaos.brokers`.
    """

    subject: str
    url: str
    folder: str
    queues: dict[str, dict[str, Any]]
    settings: dict[str, Any] = field(default_factory=dict)
    ledger_url: str | None = None
    blocks: bool = False
    threads: int = 2
    chaos: str = ""

    @property
    def config(self) -> Config:
        queues = {name: SLAQueueConfig(name, **settings) for name, settings in self.queues.items()}
        return Config(
            url=self.url,
            ledger_url=self.ledger_url,
            queues=queues,
            exporter_enabled=False,
            **{"flush_seconds": 0.2, "sample_seconds": 0.1, **self.settings},
        )

    @property
    def environment(self) -> dict[str, str]:
        return {CREW: json.dumps(asdict(self))}

    def installed(self) -> Broker:
        """A broker with the stack and the actors of all queues."""
        from tests.chaos.brokers import declare as declare_chaos
        from tests.conformance.brokers.subjects import SUBJECTS

        config = self.config
        broker = SUBJECTS[self.subject].broker(config)
        ledger: Ledger = MemoryLedger() if self.ledger_url is None else open_ledger(config)
        install(broker, config, ledger=ledger)
        broker.add_middleware(CurrentMessage())
        for queue in self.queues:
            if self.chaos:
                declare_chaos(broker, queue, str(self.ledger_url), self.chaos)
            else:
                self._declare(broker, queue)
        return broker

    def _declare(self, broker: Broker, queue: str) -> None:
        folder, blocks = Path(self.folder), self.blocks

        def act(number: int, what: str = "ok", *more: Any) -> None:
            message = CurrentMessage.get_current_message()
            assert message is not None
            options = message.options
            note = Log(folder, queue).note
            note(number, "began", retries=options.get("retries", 0), record=job.read(options))
            perform(folder, queue, number, what, *more, blocks=blocks, retries=int(options.get("retries", 0)))
            note(number, "ended")

        dramatiq.actor(act, broker=broker, actor_name=f"act-{queue}", queue_name=queue)


def perform(folder: Path, queue: str, number: int, what: str, *more: Any, blocks: bool, retries: int) -> None:
    """Run one job.

    ok            at once
    sleep S       for S seconds
    wait          until there is a file `<queue>-<number>-go`
    block         for good, but only in a process that blocks
    fail N        raise at the first N attempts
    ill           raise until there is a file `<queue>-cured`
    die           kill this process
    """
    if what == "sleep":
        time.sleep(more[0])
    elif what == "wait":
        while not (folder / f"{queue}-{number}-go").exists():
            time.sleep(0.02)
    elif what == "block" and blocks:
        time.sleep(3600)
    elif what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "fail" and retries < more[0]:
        Log(folder, queue).note(number, "failed")
        raise ConnectionError(f"attempt {retries + 1}")
    elif what == "ill" and not (folder / f"{queue}-cured").exists():
        raise ValueError(f"job {number} is ill")


def entry(kind: str, folder: Path) -> Path:
    """A script that begins as one of `ENTRIES` does."""
    script = folder / f"crew_{kind}.py"
    script.write_text(_BEGIN.format(folder=str(Path(__file__).parents[2])) + ENTRIES[kind])
    return script


def mine() -> Crew:
    """What this process was told."""
    return Crew(**json.loads(os.environ[CREW]))


class Log:
    """What happened to the jobs of one queue, in order; any number of processes write to it."""

    def __init__(self, folder: Path, queue: str) -> None:
        self._path = folder / f"{queue}.log"

    def note(self, number: int, event: str, **more: Any) -> None:
        line = json.dumps({"n": number, "event": event, "at": time.time(), "pid": os.getpid(), **more})
        file = os.open(self._path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        try:
            os.write(file, line.encode() + b"\n")
        finally:
            os.close(file)

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        lines = [json.loads(line) for line in self._path.read_bytes().splitlines()]
        return [line for line in lines if event is None or line["event"] == event]


def work_for_ever(crew: Crew) -> None:
    """One worker after the other, each in a fork: the next one comes when the last one was killed."""
    while True:
        child = os.fork()
        if child == 0:
            worker = Worker(crew.installed(), worker_timeout=100, worker_threads=crew.threads)
            signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
            worker.start()
            for queue in crew.queues:
                (Path(crew.folder) / f"{queue}-{os.getppid()}.pid").write_text(str(os.getpid()))
            while True:
                time.sleep(3600)
        os.waitpid(child, 0)
        time.sleep(0.05)


def send_when_told(crew: Crew) -> None:
    """Say that this process is there; at a line on stdin, send 14 jobs and say how many were admitted."""
    broker = crew.installed()
    (queue,) = crew.queues
    actor = broker.get_actor(f"act-{queue}")
    print("ready", flush=True)
    sys.stdin.readline()
    admitted = 0
    for number in range(14):
        with suppress(Overloaded):
            actor.send(number)
            admitted += 1
    print(admitted, flush=True)
    broker.close()
