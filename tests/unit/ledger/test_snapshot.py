"""What a snapshot says of the fleet, and what it costs to ask."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace

from littleq.ledger.base import LedgerSnapshot, Presence


class Workers(tuple[Presence, ...]):
    """Counts how often somebody goes through it."""

    passes = 0

    def __iter__(self) -> Iterator[Presence]:
        type(self).passes += 1
        return super().__iter__()


def worker(writer: str, threads: int, *queues: str) -> Presence:
    return Presence(writer, "host", 1, threads, queues, 1_700_000_000.0)


FLEET = (worker("w1", 8, "a", "b"), worker("w2", 2, "b"), worker("w3", 4, "a", "b"), worker("w4", 16))


def test_threads_and_processes_are_those_that_serve_the_queue() -> None:
    snapshot = LedgerSnapshot(taken_at=1.0, queues={}, workers=FLEET)
    assert [snapshot.servers(queue) for queue in ("a", "b", "c")] == [12, 14, 0]
    assert [snapshot.worker_processes(queue) for queue in ("a", "b", "c")] == [2, 3, 0]


def test_a_thousand_questions_go_through_the_workers_once() -> None:
    Workers.passes = 0
    snapshot = LedgerSnapshot(taken_at=1.0, queues={}, workers=Workers(FLEET))
    for index in range(1000):
        snapshot.servers(f"queue{index}")
        snapshot.worker_processes(f"queue{index}")
    assert Workers.passes == 1


def test_a_copy_that_has_other_workers_says_so() -> None:
    snapshot = LedgerSnapshot(taken_at=1.0, queues={}, workers=FLEET)
    assert snapshot.servers("a") == 12
    assert replace(snapshot, workers=FLEET[:1]).servers("a") == 8
    assert pickle.loads(pickle.dumps(snapshot)) == snapshot
