"""What is particular to the ledger on a server: its keys, its round trips, many processes at once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import pytest
from redis import Redis

from littleq.ledger.base import (
    RECENT_SLOTS,
    RECORD_EXPIRY_SECONDS,
    Batch,
    Lease,
    LedgerUnavailable,
    Presence,
    Record,
    recent_window,
    slot_shares,
)
from littleq.ledger.redis import RedisLedger
from tests.conftest import free_port

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


@pytest.mark.parametrize("call", ["apply", "snapshot", "retire", "lease", "publish", "records", "release"])
def test_each_call_is_one_round_trip(redis_client: Redis, call: str) -> None:
    ledger = RedisLedger(redis_client, "tests")
    counts = {f"queue{index}": {"done": 1, "service:sum": 0.5} for index in range(5)}
    lease = ledger.lease("scaling", "a", 60.0)
    assert lease is not None
    decisions = {queue: Record({"desired": 1}, {"held": []}) for queue in counts}
    calls: dict[str, Callable[[], object]] = {
        "apply": lambda: ledger.apply(
            batch(counts, presence=worker(), settings={"queue1": {"a": 1}}, span_seconds=20)
        ),
        "snapshot": ledger.snapshot,
        "retire": lambda: ledger.retire("w1"),
        "lease": lambda: ledger.lease("scaling", "a", 60.0),
        "publish": lambda: ledger.publish(lease, decisions),
        "records": lambda: ledger.records(states=True),
        "release": lambda: ledger.release(lease),
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


def test_more_workers_are_read_than_lua_can_unpack_at_a_time(redis_client: Redis) -> None:
    ledger = RedisLedger(redis_client, "tests")
    workers = {f"w{index}": worker(f"w{index}") for index in range(10_000)}
    now = redis_client.time()[0]
    redis_client.zadd(f"{PREFIX}:seen", dict.fromkeys(workers, now))
    redis_client.hset(
        f"{PREFIX}:workers", mapping={writer: json.dumps(asdict(each)) for writer, each in workers.items()}
    )
    snapshot = ledger.snapshot([])
    assert snapshot.workers == tuple(workers[writer] for writer in sorted(workers))
    assert (snapshot.worker_processes("default"), snapshot.servers("default")) == (10_000, 80_000)
    assert ledger.snapshot([]).workers == snapshot.workers


def test_only_recent_counts_cost_a_look_at_every_slot(redis_client: Redis) -> None:
    ledger = RedisLedger(redis_client, "tests")
    ledger.apply(
        batch({f"queue{index}": {"done": 1} for index in range(5)}, age_seconds=30.0, span_seconds=20.0)
    )

    def reads(*, recent: bool) -> int:
        redis_client.config_resetstat()
        assert len(ledger.snapshot(fields=["done"], recent=recent).queues) == 5
        return int(redis_client.info("commandstats")["cmdstat_hmget"]["calls"])

    assert reads(recent=True) - reads(recent=False) == 5 * RECENT_SLOTS


# --- leases and decisions ---


def test_decisions_and_leases_are_gone_after_a_day_of_silence(redis_client: Redis) -> None:
    ledger = RedisLedger(redis_client, "tests")
    lease = ledger.lease("scaling", "a", 10.0)
    assert lease is not None
    assert ledger.publish(lease, {"default": Record({"desired": 1}, {"held": []})})
    expiries = {key.decode().split(":")[3]: redis_client.ttl(key) for key in redis_client.keys("*")}
    assert set(expiries) == {"lease", "record", "records"}
    assert all(
        RECORD_EXPIRY_SECONDS - 10 <= seconds <= RECORD_EXPIRY_SECONDS for seconds in expiries.values()
    )
    ledger.lease("scaling", "a", 7 * 86400.0)
    assert redis_client.ttl(f"{PREFIX}:lease:scaling") > RECORD_EXPIRY_SECONDS


def test_a_queue_is_out_of_the_index_a_day_after_its_last_decision(redis_client: Redis) -> None:
    ledger = RedisLedger(redis_client, "tests")
    lease = ledger.lease("scaling", "a", 10.0)
    assert lease is not None
    ledger.publish(lease, {"old": Record({}, None), "young": Record({}, None)})
    redis_client.zincrby(f"{PREFIX}:records", -RECORD_EXPIRY_SECONDS, "old")
    ledger.publish(lease, {"default": Record({}, None)})
    assert sorted(redis_client.zrange(f"{PREFIX}:records", 0, -1)) == [b"default", b"young"]


def test_states_stay_on_the_server_where_nobody_asks_for_them(redis_client: Redis) -> None:
    ledger = RedisLedger(redis_client, "tests")
    lease = ledger.lease("scaling", "a", 10.0)
    assert lease is not None
    ledger.publish(lease, {"default": Record({"desired": 1}, {"long": "x" * 1_000_000})})

    def sent(*, states: bool) -> int:
        redis_client.config_resetstat()
        ledger.records(states=states)
        return int(redis_client.info("stats")["total_net_output_bytes"])

    assert sent(states=False) < 100_000
    assert sent(states=True) > 1_000_000


def test_a_clock_that_was_set_back_gives_no_lease_for_longer(redis_client: Redis) -> None:
    """Its holder is dead, and it would run out in an hour. Were it alive, its token would be refused from now on."""
    ledger = RedisLedger(redis_client, "tests")
    old = ledger.lease("scaling", "a", 10.0)
    assert old is not None
    redis_client.hset(f"{PREFIX}:lease:scaling", "renewed_at", str(redis_client.time()[0] + 3600))
    new = ledger.lease("scaling", "b", 10.0)
    assert new is not None
    assert new.token > old.token
    assert not ledger.publish(old, {"default": Record({}, None)})


def test_a_server_that_takes_no_writes_stores_no_decision_at_all(redis_client: Redis) -> None:
    ledger = RedisLedger(redis_client, "tests")
    lease = ledger.lease("scaling", "a", 10.0)
    assert lease is not None
    assert ledger.publish(lease, {"default": Record({"desired": 1}, None)})
    before = redis_client.hgetall(f"{PREFIX}:lease:scaling")
    redis_client.config_set("maxmemory", 1)
    try:
        with pytest.raises(LedgerUnavailable, match="OutOfMemoryError"):
            ledger.publish(
                lease, {"default": Record({"desired": 2}, None), "mail": Record({"desired": 2}, None)}
            )
        with pytest.raises(LedgerUnavailable, match="OutOfMemoryError"):
            ledger.lease("scaling", "a", 10.0)
        assert {queue: each.decision for queue, each in ledger.records()[1].items()} == {
            "default": {"desired": 1}
        }
    finally:
        redis_client.config_set("maxmemory", 0)
    assert redis_client.hgetall(f"{PREFIX}:lease:scaling") == before


def test_a_server_that_is_away_is_said_so(redis_client: Redis) -> None:
    lease = Lease("scaling", "a", 1, None, 0.0)
    ledger = RedisLedger(Redis.from_url(f"redis://user:hunter2@127.0.0.1:{free_port()}"), "tests")
    calls: list[Callable[[], object]] = [
        lambda: ledger.lease("scaling", "a", 10.0),
        lambda: ledger.release(lease),
        lambda: ledger.publish(lease, {}),
        ledger.records,
    ]
    for call in calls:
        with pytest.raises(LedgerUnavailable) as caught:
            call()
        assert "hunter2" not in str(caught.value)


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
