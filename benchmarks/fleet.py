"""A large fleet that is made up: workers that tell the ledger that they live and what they did, and run nothing."""

from __future__ import annotations

import random
import time
from typing import Any

from dramatiq import Message

from littleq.autoscale import controller as controllers
from littleq.autoscale import memory, observer
from littleq.autoscale.events import EventState
from littleq.backends import build_broker
from littleq.config import Config, SLAQueueConfig
from littleq.ledger import Batch, Presence, fields, open_ledger
from littleq.ledger.base import Record
from littleq.ledger.decisions import document
from littleq.policies import scaling
from littleq.policies.scaling import Observation, ScalingState

INTERVAL, SERVICE_TIME, THREADS = 5.0, 0.2, 8
#: Jobs a queue that wait, and that are delayed.
READY, DELAYED = 3, 5
#: Queues have one of so many pasts, of so many decisions.
PASTS, PAST_DECISIONS = 20, 130


def make_config(url: str, queues: int) -> Config:
    """Half of the queues promise 1 s, so that the policy learns headroom, half of them a minute."""
    named = [f"queue-{place:04}" for place in range(queues)]
    found = {
        name: SLAQueueConfig(
            name, sla_seconds=60.0 if place % 2 else 1.0, max_workers=50, threads_per_worker=THREADS
        )
        for place, name in enumerate(named)
    }
    return Config(url=url, queues=found, decide_seconds=INTERVAL)


def rate_of(past: int) -> float:
    """Jobs per second: 5 to 100."""
    return 5.0 * (past + 1)


class Fleet:
    """Workers that only say that they live, and what they have done since they said so last."""

    def __init__(self, config: Config, workers: int) -> None:
        self.config, self.queues = config, sorted(config.queues)
        self.ledger = open_ledger(config)
        self.per_queue = max(1, workers // len(self.queues))
        self.sequence, self.counted_at = 0, time.time()
        self.chance = random.Random(1)

    def prepare(self) -> None:
        """Counters, states and jobs, as if it had run for ten minutes."""
        lease = self.ledger.lease(controllers.LEASE, "before", 3600.0)
        if lease is None:
            raise RuntimeError("Somebody else decides on a server of our own.")
        ended = lease.taken_at - INTERVAL
        pasts = {
            (past, odd): self._past(past, self.config.queues[self.queues[odd]], ended)
            for past in range(PASTS)
            for odd in range(min(2, len(self.queues)))
        }
        records, counts = {}, {}
        for place, queue in enumerate(self.queues):
            decision, settings, state = pasts[place // 2 % PASTS, place % 2]
            kept = memory.Remembered(state, EventState())
            records[queue] = Record(document(decision, settings, kept.events.counts), kept.as_dict())
            if state.last is not None:
                counts[queue] = self._counts(queue, state.last.services or 0.0)
        self.ledger.apply(Batch("before", 1, counts, age_seconds=INTERVAL))
        self.ledger.publish(lease, records)
        self.ledger.release(lease)
        self.counted_at = ended
        self._enqueue()

    def _past(
        self, past: int, queue: SLAQueueConfig, ended: float
    ) -> tuple[scaling.Decision, scaling.ScalingSettings, ScalingState]:
        settings = observer.scaling_settings(queue, self.config)
        decision: scaling.Decision | None = None
        state: ScalingState | None = None
        jobs = 0.0
        for back in range(PAST_DECISIONS, 0, -1):
            mean = rate_of(past) * INTERVAL
            jobs += max(0, round(self.chance.gauss(mean, mean**0.5)))
            seen = Observation(
                now=ended - back * INTERVAL,
                offered=jobs,
                retried=0.0,
                services=jobs,
                service_seconds=jobs * SERVICE_TIME,
                service_seconds_squared=jobs * SERVICE_TIME**2 * 1.5,
                ready=READY,
                in_flight=0,
                delayed=DELAYED,
                oldest_age=0.1,
                workers=self.per_queue,
                timed=jobs,
                breached=0.0,
            )
            decision, state = scaling.decide(settings, seen, state)
        if decision is None or state is None:
            raise RuntimeError("There is no past without a decision.")
        return decision, settings, state

    def _counts(self, queue: str, jobs: float) -> dict[str, float]:
        """What workers count for `jobs`, bins of histograms included."""
        bounds = fields.wait_bounds(self.config.queues[queue].sla_seconds)
        counts = {
            fields.qualified(fields.OFFERED, "default"): jobs,
            "admitted:default": jobs,
            fields.STARTED: jobs,
            fields.DONE: jobs,
        }
        for name, value, ends in (
            (fields.WAIT, 0.1, bounds),
            (fields.SERVICE, SERVICE_TIME, fields.SERVICE_BOUNDS),
            (fields.SOJOURN, 0.1 + SERVICE_TIME, bounds),
        ):
            counts |= {field: amount * jobs for field, amount in fields.observation(name, ends, value)}
            counts |= {fields.bin_field(name, ends, end): 1.0 for end in ends}
        return counts

    def _enqueue(self) -> None:
        broker = build_broker(self.config)
        for queue in self.queues:
            broker.declare_queue(queue)
            for place in range(READY + DELAYED):
                message: Message[Any] = Message(queue, "work", (), {}, {})
                delay = None if place < READY else round(1000 * self.chance.uniform(60.0, 600.0))
                broker.enqueue(message, delay=delay)
        broker.close()

    def beat(self) -> None:
        """Every worker says that it lives, and counts its share of the jobs since the last time."""
        self.sequence += 1
        now = time.time()
        for place, queue in enumerate(self.queues):
            jobs = round(rate_of(place // 2 % PASTS) * (now - self.counted_at))
            for worker in range(self.per_queue):
                writer = f"{queue}-{worker}"
                share = jobs // self.per_queue + (worker < jobs % self.per_queue)
                presence = Presence(writer, "host", worker, THREADS, (queue,), 0.0)
                self.ledger.apply(Batch(writer, self.sequence, {queue: self._counts(queue, share)}, presence))
        self.counted_at = now
