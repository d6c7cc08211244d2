"""What every subject begins with: one worker in this process, and the processes that are going to die."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.conformance.brokers.stage import Stage

#: Queues that are worked on from the start.
QUEUES: dict[str, dict[str, Any]] = {
    "plain": {},
    "order": {"concurrency": 1},
    "hurt": {"max_retries": 2, "jitter": "equal", "min_backoff_seconds": 0.3, "max_backoff_seconds": 0.6},
    "broken": {},
    "long": {},
}
COMMON: dict[str, Any] = {"admission": "off", "retry_budget": 100.0}


class Live:
    """See the module. Names of queues end in what makes them this stage's own.

    Attributes:
        app: works on `QUEUES`.
        replayed: dead letters that tests sent back to work, by queue.
        victim, leaving, mortal: worker processes of the queues `kill`, `term` and `poison`; none where no process
            shares the broker.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.names = {name: stage.queue(name) for name in (*QUEUES, "kill", "term", "poison")}
        settings = {self.names[name]: {**COMMON, **own} for name, own in QUEUES.items()}
        self.app = stage.app(settings)
        self.app.work(threads=8)
        self.replayed: Counter[str] = Counter()
        self.app.send(self.names["long"], 1, "sleep", stage.subject.long_seconds)
        if stage.subject.shared:
            self.others = {
                self.names["kill"]: COMMON,
                self.names["term"]: COMMON,
                self.names["poison"]: {**COMMON, "max_deliveries": 2},
            }
            kill, term, poison = self.others
            self.victim = stage.hand(kill, self.others[kill], blocks=True)
            self.leaving = stage.hand(term, self.others[term], threads=1)
            self.mortal = stage.hand(poison, self.others[poison], threads=1, comes_again=True)

    def __getitem__(self, name: str) -> str:
        return self.names[name]
