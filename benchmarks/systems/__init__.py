"""What is measured: one `System` each, all with the same empty job.

All but RQ have 2 processes × 8 threads, or the nearest that they offer; each as its own guide recommends for short
jobs, with results off. Where two set-ups were possible the faster one was taken: threads for Celery (prefork is slower
here), a coroutine for TaskIQ (a plain function is).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

PROCESSES = 2
THREADS = 8
#: Names the variable that says where the stack keeps its counts, where that is not the broker's server.
LEDGER = "LITTLEQ_BENCH_LEDGER"
_BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class System:
    """A task queue in one set-up.

    Attributes:
        package: whose version is reported.
        setup: the set-up in words.
        command: starts worker process number n.
        jobs: jobs in one turn: about a second's work here.
        commands: how often `command` is started; one may start several processes.
    """

    name: str
    title: str
    package: str
    setup: str
    command: Callable[[int], list[str]] = field(repr=False)
    jobs: int
    commands: int = PROCESSES

    @property
    def version(self) -> str:
        return version(self.package)


def _dramatiq(mode: str) -> Callable[[int], list[str]]:
    return lambda _number: [sys.executable, "-m", "benchmarks.worker", mode]


def _celery(number: int) -> list[str]:
    options = f"-P threads -c {THREADS} -n bench{number}@%h -l ERROR --without-gossip --without-mingle"
    return [str(_BIN / "celery"), "-A", "benchmarks.systems.celery_app", "worker", *options.split()]


def _rq(number: int) -> list[str]:
    return [sys.executable, "-m", "benchmarks.systems.rq_worker", str(number)]


def _huey(_number: int) -> list[str]:
    options = f"-k thread -w {THREADS} -n -q"
    return [sys.executable, str(_BIN / "huey_consumer"), "benchmarks.systems.huey_app.huey", *options.split()]


def _taskiq(_number: int) -> list[str]:
    options = f"--workers {PROCESSES} --max-threadpool-threads {THREADS} --log-level ERROR"
    return [str(_BIN / "taskiq"), "worker", "benchmarks.systems.taskiq_app:broker", *options.split()]


def _kafka(_number: int) -> list[str]:
    return [sys.executable, "-m", "benchmarks.systems.kafka_app"]


#: Dramatiq, with LittleQ and without: the same app (`dramatiq_app`).
MODES = ("plain", "confirmed", "stack", "stock")

SYSTEMS = {
    system.name: system
    for system in (
        System("stack", "LittleQ", "littleq", "2 processes × 8 threads", _dramatiq("stack"), 4000),
        System("plain", "Dramatiq", "dramatiq", "2 processes × 8 threads", _dramatiq("plain"), 4000),
        System(
            "stock",
            "LittleQ on a stock broker",
            "littleq",
            "2 processes × 8 threads",
            _dramatiq("stock"),
            4000,
        ),
        System(
            "confirmed",
            "Dramatiq with confirms",
            "dramatiq",
            "2 processes × 8 threads",
            _dramatiq("confirmed"),
            4000,
        ),
        System(
            "bare", "confluent-kafka alone", "confluent-kafka", "2 processes, one thread each", _kafka, 4000
        ),
        System("huey", "Huey", "huey", "2 consumers × 8 threads, RedisHuey", _huey, 3000),
        System(
            "taskiq", "TaskIQ", "taskiq", "2 worker processes, coroutine, ListQueueBroker", _taskiq, 1500, 1
        ),
        System("celery", "Celery", "celery", "2 workers × 8 threads (`-P threads`)", _celery, 1500),
        System("rq", "RQ", "rq", "2 workers, which fork for each job", _rq, 100),
    )
}
