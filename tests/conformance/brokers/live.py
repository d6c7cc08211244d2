"""What every subject begins with: one worker in this process, and the processes that are going to die."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.conformance.brokers.stage import Stage
from tests.conformance.brokers.subjects import Subject

#: Queues that are worked on from the start.
QUEUES: dict[str, dict[str, Any]] = {
    "plain": {},
    "order": {"concurrency": 1},
    "hurt": {"max_retries": 2, "jitter": "equal", "min_backoff_seconds": 0.3, "max_backoff_seconds": 0.6},
    "broken": {},
    "long": {},
}
COMMON: dict[str, Any] = {"admission": "off", "retry_budget": 100.0}
#: A queue for ten jobs.
TEN: dict[str, Any] = {"arrival_rate": 10.0, "sla_seconds": 1.0}
SENDERS = 2


class Live:
    """See the module. Names of queues end in what makes them this stage's own.

    Attributes:
        app: works on `QUEUES`.
        replayed: dead letters that tests sent back to work, by queue.
        victim, leaving, mortal: worker processes of the queues `kill`, `term` and `poison`; none where no process
            shares the broker.
        senders: processes that wait for a line on stdin, and fill the queue `bound` then.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.names = {name: stage.queue(name) for name in (*QUEUES, "kill", "term", "poison", "bound")}
        settings = {self.names[name]: {**COMMON, **own} for name, own in QUEUES.items()}
        self.app = stage.app(settings)
        self.app.work(threads=8)
        self.replayed: Counter[str] = Counter()
        self.app.send(self.names["long"], 1, "sleep", stage.subject.long_seconds)
        if not stage.subject.shared:
            return
        kill, term, poison, bound = (self.names[name] for name in ("kill", "term", "poison", "bound"))
        self.victim = stage.hand(kill, COMMON, blocks=True)
        self.leaving = stage.hand(term, COMMON, threads=1)
        self.mortal = stage.hand(poison, {**COMMON, "max_deliveries": 2}, threads=1, kind="comes_again")
        self.senders = [stage.hand(bound, TEN, name=f"sender-{n}", kind="sends") for n in range(SENDERS)]
        self._own = stage.subject.own(stage.folder)
        self._starting = ThreadPoolExecutor(1).submit(self._own.__enter__)
        stage.at_close(self._end_own)

    def own_server(self) -> tuple[Subject, Any]:
        """A server that may be killed."""
        return self._starting.result()

    def __getitem__(self, name: str) -> str:
        return self.names[name]

    def _end_own(self) -> None:
        self._starting.exception()  # until it has started, or has failed to
        self._own.__exit__(None, None, None)
