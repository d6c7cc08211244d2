"""Jobs through any broker while worker processes are killed: each job that was sent is done or dead, none is lost.

A job says at its end that it was done, by its number in a hash on a Valkey server: one step, with nothing else. What
fails, how often and for good, is drawn from a seed; so is who is killed. `JOBS` says how many jobs, `CHAOS_SEED` the
seed.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dramatiq
from redis import Redis

import littleq
from tests.support import eventually

if TYPE_CHECKING:
    from dramatiq import Broker

    from tests.conformance.brokers.stage import App, Stage

SETTINGS: dict[str, Any] = {
    "admission": "off",
    "max_retries": 1,
    "min_backoff_seconds": 0.02,
    "max_backoff_seconds": 0.05,
    "retry_budget": 1000.0,
    "max_deliveries": 1000,  # who is killed here is not to blame
}
#: Shares of the jobs that fail each time, that fail once, and that are sent with a delay.
ILL, WEAK, LATE = 0.02, 0.1, 0.05
BATCH = 100
PROCESSES = 2


def fate(seed: str, number: int) -> str:
    """What becomes of a job: `ill`, `weak` or `well`."""
    drawn = random.Random(f"{seed}/{number}").random()
    return "ill" if drawn < ILL else "weak" if drawn < ILL + WEAK else "well"


def declare(broker: Broker, queue: str, url: str, seed: str) -> None:
    """The actor of the queue."""
    client = Redis.from_url(url)

    def chaos(number: int) -> None:
        client.hset(f"{queue}:running", str(number), os.getpid())
        try:
            perform(number)
        finally:
            client.hdel(f"{queue}:running", str(number))

    def perform(number: int) -> None:
        time.sleep(0.002)
        what = fate(seed, number)
        if what == "ill":
            raise ValueError("ill")
        if what == "weak" and client.hsetnx(f"{queue}:failed", str(number), 1):
            raise ConnectionError("weak")
        client.hincrby(f"{queue}:done", str(number), 1)

    dramatiq.actor(chaos, broker=broker, actor_name=f"chaos-{queue}", queue_name=queue)


@dataclass
class Story:
    """What happened."""

    jobs: int
    seed: str
    done: int = 0
    dead: int = 0
    twice: int = 0
    kills: int = 0
    seconds: float = 0.0
    recoveries: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        slowest = f"{max(self.recoveries):.2f} s" if self.recoveries else "nothing to recover"
        return (
            f"{self.jobs} jobs in {self.seconds:.0f} s = {self.done} done + {self.dead} dead; {self.kills} kills, "
            f"{self.twice} runs too many, slowest recovery {slowest} (seed {self.seed})"
        )


class Chaos:
    """One run on a stage."""

    def __init__(self, stage: Stage, url: str, jobs: int, kills: int) -> None:
        self.stage, self.url, self.kills = stage, url, kills
        self.seed = os.environ.get("CHAOS_SEED", str(time.time_ns()))
        self.queue = stage.queue("chaos")
        self.client = Redis.from_url(url, decode_responses=True)
        self.story = Story(jobs, self.seed)
        self.rng = random.Random(self.seed)

    def run(self) -> Story:
        """Send, kill, wait for the end.

        Raises:
            AssertionError: a job is neither done nor dead, or both.
        """
        began = time.monotonic()
        with self._at_work() as app:
            self._send(app)
            self._compare(app)
            self.story.seconds = time.monotonic() - began
        return self.story

    @contextmanager
    def _at_work(self) -> Iterator[App]:
        app = self.stage.app({self.queue: SETTINGS})
        declare(app.broker, self.queue, self.url, self.seed)
        crew: dict[str, Any] = {"kind": "comes_again", "threads": 4, "chaos": self.seed}
        hands = []
        if self.stage.subject.shared:
            names = [f"chaos-{number}" for number in range(PROCESSES)]
            hands = [self.stage.hand(self.queue, SETTINGS, name=name, **crew) for name in names]
        else:
            app.work(threads=4)
        yield app
        for hand in hands:
            hand.kill()
        app.rest()

    def _send(self, app: App) -> None:
        jobs, story = self.story.jobs, self.story
        kills = self.kills if self.stage.subject.shared else 0
        points = [jobs * (turn + 1) // (kills + 1) for turn in range(kills)]
        actor = app.broker.get_actor(f"chaos-{self.queue}")
        for first in range(0, jobs, BATCH):
            soon, late = [], []
            for number in range(first, min(jobs, first + BATCH)):
                (late if self.rng.random() < LATE else soon).append(actor.message(number))
            littleq.send_many(soon, broker=app.broker)
            littleq.send_many(late, delay=self.rng.randrange(10, 500), broker=app.broker)
            while points and first + BATCH >= points[0] * 1.1 and self._done() >= points[0] * 0.3:
                points.pop(0)
                self._kill()
        for point in points:
            eventually(lambda point=point: self._done() >= point * 0.5, 300, f"{point} jobs")
            self._kill()
        assert story.kills > 0 or not kills

    def _done(self) -> int:
        return int(self.client.hlen(f"{self.queue}:done"))

    def _kill(self) -> None:
        """Kill a worker process at random, and measure how long what it ran takes to run again."""

        def alive() -> list[tuple[Path, int]]:
            found = []
            for path in Path(self.stage.folder).glob(f"{self.queue}-*.pid"):
                with suppress(ValueError):
                    found.append((path, int(path.read_text())))
            return found

        victims = eventually(alive, what="a worker")
        running = f"{self.queue}:running"
        pids = {str(pid) for _, pid in victims}
        enough = self.story.jobs * (1 - ILL) * 0.97
        eventually(
            lambda: set(self.client.hvals(running)) & pids or self._done() >= enough, 60, "a running job"
        )
        if self._done() >= enough:  # they were quicker
            return
        path, pid = self.rng.choice(victims)
        path.unlink()
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        self.story.kills += 1
        held = {number for number, holder in self.client.hgetall(running).items() if holder == str(pid)}
        if held:

            def back() -> bool:
                now = self.client.hgetall(running)
                return not any(now.get(number) == str(pid) for number in held)

            eventually(back, 120, f"the return of {len(held)} jobs")
            self.story.recoveries.append(time.monotonic() - killed)

    def _compare(self, app: App) -> None:
        sent = set(range(self.story.jobs))

        def whereabouts() -> tuple[dict[int, int], set[int]] | None:
            if self._done() < self.story.jobs * (1 - ILL) * 0.97:
                return None
            done = {
                int(number): int(runs) for number, runs in self.client.hgetall(f"{self.queue}:done").items()
            }
            dead = {letter.args[0] for letter in app.backend.dead_letters.letters(self.queue)}
            return (done, dead) if done.keys() | dead == sent else None

        done, dead = eventually(whereabouts, 120 + self.story.jobs / 50, "the end of all jobs")
        assert not done.keys() & dead, "done and dead"
        eventually(lambda: app.settled(self.queue), 30, "the acks")
        self.story.done, self.story.dead = len(done), len(dead)
        assert self.story.done + self.story.dead == self.story.jobs
        self.story.twice = sum(done.values()) - len(done)
