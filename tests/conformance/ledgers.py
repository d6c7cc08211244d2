"""Both ledgers, as the conformance suite drives them.

Time is driven, not waited for. In memory the clock is ours. On the server everything stamped is aged in its keys: for
the scripts, which read the server's clock, that is the same as if the time had passed.
"""

from __future__ import annotations

from typing import Protocol

from redis import Redis

from littleq.ledger.base import SLOT_SECONDS, Ledger
from littleq.ledger.memory import MemoryLedger
from littleq.ledger.redis import RedisLedger
from littleq.testing import ManualClock

PREFIX = "littleq:tests:ledger"


class Subject(Protocol):
    """A ledger under test."""

    ledger: Ledger

    def reopened(self) -> Ledger:
        """The same data, through an object of its own."""
        ...

    def advance(self, seconds: float) -> None:
        """Let time pass; a whole number of slots."""
        ...

    def empty(self) -> None:
        """Lose all data, as a server without persistence does when it starts again."""
        ...


class InMemory:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.clock.advance(1_000_003.0)
        self.ledger: Ledger = MemoryLedger(self.clock)

    def reopened(self) -> Ledger:
        return self.ledger

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def empty(self) -> None:
        self.clock.advance(1e-3)  # at least
        self.ledger = MemoryLedger(self.clock)


class OnServer:
    def __init__(self, client: Redis, url: str) -> None:
        self.client = client
        self.url = url
        self.ledger: Ledger = RedisLedger(client, "tests")

    def reopened(self) -> Ledger:
        return RedisLedger(Redis.from_url(self.url, decode_responses=True), "tests")

    def advance(self, seconds: float) -> None:
        slots = round(seconds / SLOT_SECONDS)
        assert slots * SLOT_SECONDS == seconds
        for writer in self.client.zrange(f"{PREFIX}:seen", 0, -1):
            self.client.zincrby(f"{PREFIX}:seen", -seconds, writer)
        for queue, stamp in self.client.hgetall(f"{PREFIX}:queues").items():
            self.client.hset(f"{PREFIX}:queues", queue, str(float(stamp) - seconds))
        for key in self.client.keys(f"{PREFIX}:set:*"):
            for name, value in self.client.hgetall(key).items():
                stamp, _, text = value.decode().partition(" ")
                self.client.hset(key, name, f"{float(stamp) - seconds} {text}")
        for key in sorted(self.client.keys(f"{PREFIX}:slot:*")):  # oldest first: none overwrites another
            slot, queue = key.decode().removeprefix(f"{PREFIX}:slot:").split(":", 1)
            self.client.rename(key, f"{PREFIX}:slot:{int(slot) - slots}:{queue}")
        self._age_decisions(seconds)
        for key in self.client.keys(f"{PREFIX}:attempt:*"):
            self.client.pexpire(key, self.client.pttl(key) - round(seconds * 1000))

    def empty(self) -> None:
        self.client.flushall()

    def _age_decisions(self, seconds: float) -> None:
        for queue in self.client.zrange(f"{PREFIX}:records", 0, -1):
            self.client.zincrby(f"{PREFIX}:records", -seconds, queue)
        for key in (*self.client.keys(f"{PREFIX}:lease:*"), *self.client.keys(f"{PREFIX}:record:*")):
            for name in ("renewed_at", "decided_at"):
                stamp = self.client.hget(key, name)
                if stamp is not None:
                    self.client.hset(key, name, f"{float(stamp) - seconds:.6f}")
            self.client.pexpire(key, self.client.pttl(key) - round(seconds * 1000))
