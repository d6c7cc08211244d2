"""What is particular to the ledger on a server: its keys, its round trips, many processes at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from redis import Redis

from littleq.ledger.base import RECENT_SLOTS, Batch, Presence, recent_window, slot_shares
from littleq.ledger.redis import RedisLedger

ROOT = Path(__file__).parents[2]
PREFIX = "littleq:tests:ledger"


def batch(
    counts: Mapping[str, Mapping[str, float]] | None = None, *, writer: str = "w1", **others: object
) -> Batch:
    return Batch(writer, 1, counts or {}, **others)  # type: ignore[arg-type]


def worker(writer: str = "w1") -> Presence:
    return Presence(writer, host="host", pid=1, threads=8, queues=("default",), started_at=1_700_000_000.5)


def test_fleets_with_different_namespaces_know_nothing_of_each_other(redis_client: Redis) -> None:
    RedisLedger(redis_client, "one").apply(batch({"default": {"done": 1}}, presence=worker()))
    other = RedisLedger(redis_client, "two")
    assert (dict(other.snapshot().queues), other.snapshot().workers) == ({}, ())
    assert all(key.startswith(b"littleq:one:ledger:") for key in redis_client.keys("*"))


def test_what_only_time_makes_useless_expires_by_itself(redis_client: Redis) -> None:
    ledger = RedisLedger(redis_client, "tests")
    ledger.apply(batch({"default": {"done": 1}}, settings={"default": {"a": 1.0}}, presence=worker()))
    expiries = {key.decode().split(":")[3]: redis_client.ttl(key) for key in redis_client.keys("*")}
    assert 890 <= expiries.pop("slot") <= 900
    assert 86390 <= expiries.pop("seq") <= 86400
    assert 3590 <= expiries.pop("set") <= 3600
    assert expiries == {"total": -1, "queues": -1, "seen": -1, "workers": -1}


@pytest.mark.parametrize(
    ("age", "span"),
    [(0.0, 0.0), (0.0, 1.0), (0.0, 7.5), (12.0, 0.0), (3.0, 40.0), (0.0, 3600.0), (30.0, 86400.0)],
)
def test_the_script_shares_counts_as_base_says(redis_client: Redis, age: float, span: float) -> None:
    """And touches no slot that nobody would read: after an outage every process of a fleet comes at once."""
    ledger = RedisLedger(redis_client, "tests")
    ledger.apply(batch({"q": {"done": 1000}}, presence=worker(), age_seconds=age, span_seconds=span))
    now = redis_client.zscore(f"{PREFIX}:seen", "w1")
    assert isinstance(now, float)
    found = {
        int(key.decode().split(":")[4]): float(redis_client.hget(key, "done") or 0)
        for key in redis_client.keys(f"{PREFIX}:slot:*")
    }
    shares = slot_shares(now - age - span, now - age, now)
    assert found == pytest.approx({slot: share * 1000 for slot, share in shares}, rel=1e-3, abs=1e-3)
    assert len(found) <= RECENT_SLOTS + 1


@pytest.mark.parametrize("age", [0.0, 0.5, 1.0, 2.5, 4.0, 4.999, 5.0, 7.5, 10.0, 59.0, 64.0, 1000.0])
def test_the_script_measures_the_window_as_base_says(redis_client: Redis, age: float) -> None:
    ledger = RedisLedger(redis_client, "tests")
    ledger.apply(batch({"q": {"done": 1}}))
    first_seen = redis_client.time()[0] - age
    redis_client.hset(f"{PREFIX}:queues", "q", str(first_seen))
    snapshot = ledger.snapshot()
    assert snapshot.queue("q").recent_seconds == pytest.approx(
        recent_window(first_seen, snapshot.taken_at)[1]
    )


def test_dead_workers_are_swept_out_by_the_next_batch_of_a_live_one(redis_client: Redis) -> None:
    ledger = RedisLedger(redis_client, "tests")
    for index in range(5):
        ledger.apply(batch(presence=worker(f"dead{index}"), writer=f"dead{index}"))
        redis_client.zincrby(f"{PREFIX}:seen", -10.0, f"dead{index}")  # ten seconds later
    ledger.apply(batch(presence=worker("alive"), writer="alive"))
    assert redis_client.zrange(f"{PREFIX}:seen", 0, -1) == [b"alive"]
    assert redis_client.hkeys(f"{PREFIX}:workers") == [b"alive"]


def test_a_presence_that_cannot_be_read_hides_no_other(redis_client: Redis) -> None:
    """During a rolling upgrade another release may say it differently."""
    ledger = RedisLedger(redis_client, "tests")
    ledger.apply(batch(presence=worker()))
    for writer, record in (("newer", '{"writer": "newer"}'), ("broken", "no JSON")):
        redis_client.zadd(f"{PREFIX}:seen", {writer: redis_client.time()[0]})
        redis_client.hset(f"{PREFIX}:workers", writer, record)
    assert ledger.snapshot().workers == (worker(),)


@pytest.mark.parametrize("call", ["apply", "snapshot", "retire"])
def test_each_call_is_one_round_trip(redis_client: Redis, call: str) -> None:
    ledger = RedisLedger(redis_client, "tests")
    counts = {f"queue{index}": {"done": 1, "service:sum": 0.5} for index in range(5)}
    calls: dict[str, Callable[[], object]] = {
        "apply": lambda: ledger.apply(
            batch(counts, presence=worker(), settings={"queue1": {"a": 1}}, span_seconds=20)
        ),
        "snapshot": ledger.snapshot,
        "retire": lambda: ledger.retire("w1"),
    }
    calls[call]()  # the first one loads its script
    sent = []
    pool = redis_client.connection_pool
    connection = pool.get_connection()
    send = connection.send_packed_command
    connection.send_packed_command = lambda *args, **kwargs: (sent.append(args), send(*args, **kwargs))[1]
    pool.release(connection)
    calls[call]()
    assert len(sent) == 1


WRITER = """
import sys, threading
from redis import Redis
from littleq.ledger import fields
from littleq.ledger.recorder import Recorder
from littleq.ledger.redis import RedisLedger

recorder = Recorder(RedisLedger(Redis.from_url(sys.argv[1]), "tests"), flush_seconds=0.005)

def work():
    for index in range(1000):
        if index % 100 == 0:
            recorder.flush()
        recorder.count("default", "done")
        recorder.add("default", fields.observation(fields.SERVICE, fields.SERVICE_BOUNDS, 0.25))

threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


def test_processes_that_count_at_once_sum_up_exactly(redis_client: Redis, valkey_url: str) -> None:
    """Four processes of four threads, flushed while they count, by the threads and beside them, and at exit."""
    processes = [subprocess.Popen([sys.executable, "-c", WRITER, valkey_url], cwd=ROOT) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0, 0, 0, 0]
    assert RedisLedger(redis_client, "tests").snapshot().queue("default").totals == {
        "done": 16_000,
        "service:count": 16_000,
        "service:sum": 4_000.0,
        "service:sumsq": 1_000.0,
        "service:le:0.25": 16_000,
    }
    flushes = [int(redis_client.get(key) or 0) for key in redis_client.keys(f"{PREFIX}:seq:*")]
    assert len(flushes) == 4
    assert min(flushes) > 1
