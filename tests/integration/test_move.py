"""`littleq move` as it is typed, between two namespaces of one server: what arrives, what is said, how it ends."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from dramatiq import Worker
from dramatiq.brokers.redis import RedisBroker as DramatiqRedisBroker
from redis import Redis

from littleq.backends import backend_for
from littleq.backends.redis.broker import RedisBroker
from littleq.backends.transfer import Parcel, open_broker
from littleq.cli.root import run
from littleq.config import Config, SLAQueueConfig
from littleq.ledger.memory import MemoryLedger
from littleq.stack import install
from tests.integration.removal import HOUR, Place, ids, some_jobs, what
from tests.support import eventually

Answer = tuple[int, str, str]
Move = Callable[..., Answer]


@pytest.fixture
def here(valkey_url: str, redis_client: Redis) -> Place:
    return Place(valkey_url, "q")


@pytest.fixture
def there(valkey_url: str) -> Place:
    return Place(valkey_url, "q", "other")


@pytest.fixture
def move(
    here: Place,
    there: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Move:
    """Run `littleq move` in a folder without settings."""
    for variable in [name for name in os.environ if name.startswith("LITTLEQ_")]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)

    def call(*args: str, source: Place = here, target: Place = there) -> Answer:
        capsys.readouterr()
        code = run(
            [
                *("move", "--from", source.url, "--to", target.url, "--queue", source.queue),
                *("--from-namespace", source.namespace, "--to-namespace", target.namespace, *args),
            ]
        )
        return (code, *capsys.readouterr())

    return call


def imbalance(place: Place) -> int:
    inspector = backend_for(open_broker(place.config)).inspector
    return (inspector.truth(["q"])["q"].imbalance or 0) + inspector.strangers("q")


def test_all_kinds_of_jobs_arrive_as_they_were(move: Move, here: Place, there: Place) -> None:
    jobs = some_jobs("q")
    here.fill(jobs)
    code, said, _ = move()
    assert code == 0
    lines = [line.split() for line in said.splitlines()]
    assert lines[:4] == [
        ["q", "taken", "given", "verified", "left"],
        ["ready", "6", "6", "6", "0"],
        ["delayed", "2", "2", "2", "0"],
        ["dead", "2", "2", "2", "0"],
    ]
    assert said.splitlines()[-1] == "All moved."
    assert what(there.contents()) == what(jobs)
    assert here.contents() == []
    assert imbalance(here) == imbalance(there) == 0
    purged, admitted = here.truth().accounts, there.truth().accounts
    assert purged is not None
    assert admitted is not None
    assert (purged.admitted, purged.purged, admitted.admitted) == (9, 9, 9)  # one nobody ever admitted


def test_again_it_moves_what_has_come_since(move: Move, here: Place, there: Place) -> None:
    here.fill(some_jobs("q", 1, 0, 0))
    assert move()[0] == 0
    here.fill(some_jobs("q", 2, 0, 0)[:2])
    code, said, _ = move("--json")
    assert code == 0
    assert json.loads(said)["ready"] == {"taken": 2, "given": 2, "verified": 2, "unsure": 0, "left": 0}
    assert there.truth().ready == 4


def test_a_dry_run_counts_and_changes_nothing(move: Move, here: Place, there: Place, tmp_path: Path) -> None:
    here.fill(some_jobs("q"))
    code, said, _ = move("--dry-run")
    assert code == 0
    assert said.startswith("q: 6 ready, 2 delayed, 2 dead would be moved from redis://")
    assert said.rstrip().endswith("(other).")
    assert json.loads(move("--dry-run", "--json")[1])["delayed"] == 2
    assert here.truth().ready == 6
    assert list(tmp_path.iterdir()) == []


def test_a_paused_queue_moves_and_stays_paused(move: Move, here: Place, there: Place) -> None:
    here.fill(some_jobs("q"))
    broker = open_broker(here.config)
    assert isinstance(broker, RedisBroker)
    broker.pause("q")
    assert move()[0] == 0
    assert here.truth().paused
    assert not there.truth().paused


def test_jobs_of_plain_dramatiq_move_their_delay_queue_too(move: Move, here: Place, there: Place) -> None:
    plain = DramatiqRedisBroker(url=here.url)
    actor = dramatiq.actor(lambda: None, actor_name="work", queue_name="q", broker=plain)
    sent = [actor.send(), actor.send_with_options(delay=round(HOUR * 1000))]
    assert move()[0] == 0
    found = there.contents()
    assert ids(found) == sorted(message.message_id for message in sent)
    assert {each.kind for each in found} == {"ready", "delayed"}
    assert imbalance(here) == imbalance(there) == 0


def test_workers_of_the_new_broker_do_each_moved_job_once(move: Move, here: Place, there: Place) -> None:
    """Ready ones, one that becomes due, and a dead one that is replayed."""
    done: list[int] = []
    broker = RedisBroker(url=there.url, namespace=there.namespace, watch=False)
    config = Config(
        url=there.url, namespace=there.namespace, queues={"q": SLAQueueConfig("q", max_retries=0)}
    )
    install(broker, config, ledger=MemoryLedger())
    dramatiq.actor(done.append, actor_name="work", queue_name="q", broker=broker)
    jobs = some_jobs("q", ready=20, delayed=0, dead=1)[:-1]
    soon = some_jobs("q", ready=0, delayed=1, dead=0)[0]
    here.fill([*jobs, Parcel(soon.parcel_id, "delayed", soon.data, at=time.time() + 1.0)])
    worker = Worker(broker, worker_timeout=50, worker_threads=2)
    worker.start()
    try:
        assert move()[0] == 0
        letters = backend_for(broker).dead_letters
        letter = next(iter(letters.letters("q")))
        assert letter.death["exception"] == "ValueError"
        assert letters.replay("q", letter.letter_id)
        eventually(lambda: len(done) >= 22, what="the end of all jobs")
    finally:
        worker.stop()
    assert len(done) == len(set(done)) == 22
    assert imbalance(there) == 0
    broker.close()


def test_what_a_worker_holds_is_left_and_waited_for_if_asked(move: Move, here: Place, there: Place) -> None:
    here.fill(some_jobs("q", 2, 0, 0)[:2])
    broker = open_broker(here.config)
    assert isinstance(broker, RedisBroker)
    _, held, _ = broker.fetch("q", 1, 0, [])
    code, said, _ = move()
    assert code == 1
    assert "1 job held by workers at the source" in said
    assert there.truth().ready == 1

    class GivesBack:
        def __init__(self) -> None:
            self.looks = 0

        def __call__(self, _seconds: float) -> None:
            broker.give_back("q", "these", [held[0].decode()])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("littleq.cli.move.time.sleep", GivesBack())
        code, said, _ = move("--wait", "30s")
    assert code == 0, said
    assert there.truth().ready == 2
    assert said.startswith("q")
    assert "With what earlier runs did" in said


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("--to", "ftp://x"), "has a scheme that names no broker"),
        (("--to-namespace", "dramatiq"), "are the same broker and namespace"),
        (("--rate", "0"), "is not a rate above 0"),
        (("--to", "stub://"), "it is in the memory of one process"),
        (("--to", "redis://me:hunter2@127.0.0.1:1/0"), "The server cannot be used"),
    ],
)
def test_bad_input_is_one_sentence(move: Move, here: Place, args: tuple[str, ...], sentence: str) -> None:
    here.fill(some_jobs("q", 1, 0, 0))
    code, said, complaint = move(*args)
    assert code == 2
    assert sentence in said + complaint
    assert "hunter2" not in said + complaint
    assert here.truth().ready == 2 or "cannot be used" in sentence


def test_a_journal_of_another_move_is_refused(move: Move, here: Place, there: Place, tmp_path: Path) -> None:
    here.fill(some_jobs("q", 1, 0, 0))
    assert move("--journal", "j")[0] == 0
    code, _, complaint = move("--journal", "j", source=there, target=here)
    assert code == 2
    assert complaint.count("\n") == 1
    assert "belongs to a move with from_namespace = dramatiq, not other" in complaint


def test_a_password_is_in_no_journal(move: Move, here: Place, tmp_path: Path) -> None:
    url = here.url.replace("redis://", "redis://:hunter2@")
    move(source=Place(url, "q"), target=Place(url, "q", "other"))
    for path in tmp_path.glob("*.journal"):
        assert "hunter2" not in path.read_text()


def _move_in_a_process(url: str, folder: str, pipe: Any) -> None:
    os.chdir(folder)
    ends = ["move", "--from", url, "--to", url, "--to-namespace", "other", "--queue", "q"]
    assert run([*ends, "--dry-run"]) == 0  # all is imported
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code = run(ends)
    pipe.send((code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))


def test_twenty_thousand_jobs_stream_through_bounded_memory(
    here: Place, there: Place, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """80 MB of jobs, of which some hundred are in memory at a time."""
    template = some_jobs("q", 1, 0, 0)[0].data.replace(b'"args":[', b'"args":["' + b"x" * 4000 + b'",')
    here.fill([Parcel(f"job.{n}", "ready", template) for n in range(20_000)])
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    child = context.Process(target=_move_in_a_process, args=(here.url, str(tmp_path), theirs))
    child.start()
    assert mine.poll(120)
    code, grown = mine.recv()
    child.join()
    assert code == 0
    assert grown < 40_000, f"{grown} kB more"
    assert there.truth().ready == 20_000
    assert here.truth().ready == 0
