"""`littleq queue` against a real server, with jobs that LittleQ's RedisBroker put there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from dramatiq import Worker
from redis import Redis

from littleq.backends import backend_for
from littleq.backends.base import TruthTable
from littleq.backends.redis.broker import RedisBroker
from littleq.cli.root import run
from littleq.config import Config, SLAQueueConfig
from littleq.ledger.memory import MemoryLedger
from littleq.stack import install
from tests.support import eventually

#: Far enough away that no test is slow enough to see such a job become due; in ms, as Dramatiq has it.
HOUR = 3_600_000

Answer = tuple[int, str, str]


@pytest.fixture
def littleq(
    valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """Run `littleq queue ARGS…` (or another command) in a folder without settings."""
    for variable in [name for name in os.environ if name.startswith("LITTLEQ_")]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)

    def call(*args: str, command: tuple[str, ...] = ("queue",)) -> Answer:
        capsys.readouterr()
        code = run([*command, *args, "--redis", valkey_url])
        return (code, *capsys.readouterr())

    return call


class Shop:
    """An app on LittleQ's RedisBroker: `greet` stands in `q`, `flaky` fails and is retried in an hour."""

    def __init__(self, url: str) -> None:
        settings = SLAQueueConfig("q", min_backoff_seconds=HOUR / 1000, jitter="equal")
        self.broker = RedisBroker(url=url)
        install(self.broker, Config(url=url, queues={"q": settings}), ledger=MemoryLedger())
        self.greeted: list[int] = []
        self.greet = dramatiq.actor(
            self.greeted.append, actor_name="greet", queue_name="q", broker=self.broker
        )
        self.flaky = dramatiq.actor(self._fail, actor_name="flaky", queue_name="q", broker=self.broker)
        self.worker: Worker | None = None

    def _fail(self) -> None:
        raise ValueError("not today")

    def work(self) -> None:
        self.worker = Worker(self.broker, worker_timeout=50, worker_threads=2)
        self.worker.start()

    def truth(self) -> TruthTable:
        return backend_for(self.broker).inspector.truth(["q"])["q"]

    def close(self) -> None:
        if self.worker is not None:
            self.worker.stop()
        self.broker.littleq_gate.admission.recorder.close()  # type: ignore[attr-defined]
        self.broker.close()


@pytest.fixture
def shop(valkey_url: str, redis_client: Redis) -> Iterator[Shop]:
    opened = Shop(valkey_url)
    yield opened
    opened.close()


def delayed_ids(shop: Shop, *delays: int) -> list[str]:
    """Send `greet` with these delays in ms; the ids of the messages."""
    return [shop.greet.send_with_options(args=(n,), delay=delay).message_id for n, delay in enumerate(delays)]


def record(answer: Answer) -> dict[str, Any]:
    code, out, err = answer
    assert code == 0, err
    return dict(json.loads(out))


def test_a_paused_queue_hands_out_nothing_until_it_is_resumed(
    littleq: Callable[..., Answer], shop: Shop
) -> None:
    shop.greet.send(1)
    consumer = shop.broker.consume("q", prefetch=1, timeout=50)
    assert littleq("pause", "q") == (0, "q  paused\n", "")
    assert littleq("pause", "q") == (0, "q  was paused already\n", "")
    assert next(consumer) is None
    assert (shop.truth().ready, shop.truth().paused) == (1, True)

    assert littleq("resume", "q") == (0, "q  resumed\n", "")
    assert littleq("resume", "q") == (0, "q  was not paused\n", "")
    message = eventually(lambda: next(consumer), what="the job")
    assert message.args == (1,)
    consumer.ack(message)
    consumer.close()
    assert not shop.truth().paused


def test_a_running_worker_obeys_at_once_and_goes_on(littleq: Callable[..., Answer], shop: Shop) -> None:
    """Sent before, while and after: what was sent while it was paused has run in the end, and not sooner."""
    shop.work()
    shop.greet.send(0)
    eventually(lambda: shop.greeted == [0], what="the first job")
    assert littleq("pause", "q")[0] == 0
    for number in range(1, 6):
        shop.greet.send(number)
    assert record(littleq("list", "--json", "-q", "q")) == {
        "queue": "q",
        "ready": 5,
        "in_flight": 0,
        "delayed": 0,
        "dead": 0,
        "orphaned": 0,
        "oldest_age": pytest.approx(0, abs=20),
        "next_due": None,
        "paused": True,
        "approximate": [],
    }
    assert shop.greeted == [0]
    assert littleq("resume", "q")[0] == 0
    eventually(lambda: sorted(shop.greeted) == [*range(6)], what="the others")


def test_delayed_jobs_are_counted_by_due_time(littleq: Callable[..., Answer], shop: Shop) -> None:
    delayed_ids(shop, HOUR // 2, 2 * HOUR, 3 * HOUR, 48 * HOUR, 9 * 24 * HOUR)
    found = record(littleq("delayed", "q", "--json"))
    assert (found["queue"], found["delayed"]) == ("q", 5)
    assert found["next_due"] == pytest.approx(1800, abs=60)
    jobs = {(each["low"], each["high"]): each["jobs"] for each in found["due"] if each["jobs"]}
    assert jobs == {
        (600.0, 3600.0): 1,
        (3600.0, 21600.0): 2,
        (86400.0, 604800.0): 1,
        (604800.0, None): 1,
    }
    code, out, _ = littleq("delayed", "q")
    assert code == 0
    assert out.startswith("q  5 delayed jobs, the next due in ")
    assert record(littleq("list", "--json"))["delayed"] == 5


def test_what_is_due_is_ready_and_no_longer_delayed(littleq: Callable[..., Answer], shop: Shop) -> None:
    """Nobody fetches, so nobody has moved it; `list` and `delayed` agree all the same."""
    delayed_ids(shop, 1, HOUR)
    eventually(lambda: shop.truth().ready == 1, what="the due time")
    found = record(littleq("delayed", "q", "--json"))
    assert [each for each in found["due"] if each["jobs"]] == [{"low": 600.0, "high": 3600.0, "jobs": 1}]
    listed = record(littleq("list", "--json"))
    assert (found["delayed"], listed["delayed"], listed["ready"]) == (1, 1, 1)


def test_a_cancelled_job_is_purged_and_the_accounts_hold(littleq: Callable[..., Answer], shop: Shop) -> None:
    first, second, third = delayed_ids(shop, HOUR, HOUR, 2 * HOUR)
    assert littleq("cancel", "--queue", "q", first, third) == (0, "2 delayed jobs cancelled.\n", "")
    assert shop.truth().delayed == 1
    audit = record(littleq("--json", command=("audit",)))
    assert audit["queues"]["q"]["accounts"] == {"admitted": 3, "done": 0, "skipped": 0, "purged": 2}

    answer = littleq("cancel", "--queue", "q", first, second)
    assert answer == (
        1,
        "1 delayed job cancelled.\n",
        f"littleq: not (or no longer) delayed in q: {first}.\n",
    )
    assert shop.truth().delayed == 0


def test_a_pending_retry_is_cancelled_by_the_id_that_was_sent(
    littleq: Callable[..., Answer], shop: Shop
) -> None:
    message = shop.flaky.send()
    shop.work()
    eventually(lambda: shop.truth().delayed == 1, what="the retry")
    assert littleq("cancel", "-q", "q", message.message_id) == (0, "1 delayed job cancelled.\n", "")
    eventually(lambda: shop.truth().number_in_system + shop.truth().delayed == 0, what="an empty queue")
    assert littleq(command=("audit",))[0] == 0


def test_a_ready_job_is_not_cancelled(littleq: Callable[..., Answer], shop: Shop) -> None:
    message = shop.greet.send(1)
    code, out, err = littleq("cancel", "-q", "q", message.message_id)
    assert (code, out) == (1, "0 delayed jobs cancelled.\n")
    assert message.message_id in err
    assert shop.truth().ready == 1


@pytest.mark.parametrize(
    "args",
    [("pause", "qq"), ("resume", "qq"), ("delayed", "qq"), ("cancel", "-q", "qq", "m"), ("list", "-q", "qq")],
)
def test_a_queue_that_nobody_knows_is_refused(
    littleq: Callable[..., Answer], shop: Shop, args: tuple[str, ...]
) -> None:
    shop.greet.send(1)
    code, out, err = littleq(*args)
    assert (code, out) == (2, "")
    assert "No queue is called 'qq'; known queues: q." in err


@pytest.mark.parametrize("args", [("pause", "q"), ("delayed", "q"), ("cancel", "-q", "q", "m")])
def test_a_broker_that_cannot_says_so(
    littleq: Callable[..., Answer], args: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["queue", *args, "--redis", "stub://"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1 and "use LittleQ's RedisBroker" in err
