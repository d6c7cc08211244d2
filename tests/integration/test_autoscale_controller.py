"""The controller on real servers: killed, doubled, its ledger emptied, its broker down, its workers gone."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import dramatiq
import pytest
from redis import Redis

from littleq.autoscale.controller import Controller, Tick, controller_for
from littleq.backends import backend_for
from littleq.backends.base import Backend
from littleq.backends.redis.broker import RedisBroker
from littleq.config import Config, SLAQueueConfig
from littleq.ledger import open_ledger
from littleq.ledger.base import Batch, LedgerUnavailable, Presence
from littleq.ledger.decisions import Published, read_decisions
from littleq.ledger.redis import RedisLedger
from tests.fluid import BUSY, THREADS, Fleet, Unreliable
from tests.servers import make_own_server
from tests.support import OurApp, eventually

__all__ = ["make_own_server"]

WORKERS = 3
SERVICE_SECONDS = 0.25


class Site:
    """One namespace of a real server: a queue with many jobs, one of them delayed, and workers by what they report."""

    def __init__(self, url: str, namespace: str) -> None:
        self.config = Config(
            url=url,
            namespace=namespace,
            queues={"q": replace(BUSY, max_workers=20)},
            decide_seconds=1.0,
            flush_seconds=0.2,
        )
        self.ledger = open_ledger(self.config)
        self.sequence = 0
        broker = RedisBroker(url=url, namespace=namespace, watch=False)
        actor = dramatiq.actor(lambda: None, broker=broker, actor_name="a", queue_name="q")
        for _ in range(100):
            actor.send()
        actor.send_with_options(delay=5_000)
        broker.close()

    def report(self) -> None:
        """As all workers do: ten jobs came, ten were served since the last time."""
        self.sequence += 1
        counts = {
            "offered:default": 10,
            "service:count": 10,
            "service:sum": 10 * SERVICE_SECONDS,
            "service:sumsq": 10 * SERVICE_SECONDS**2,
            "wait:count": 10,
        }
        self.ledger.apply(Batch("producer", self.sequence, {"q": counts}))
        for k in range(WORKERS):
            presence = Presence(f"w{k}", "h", k, THREADS, ("q",), 0.0)
            self.ledger.apply(Batch(f"w{k}", self.sequence, {}, presence))

    def decision(self) -> Published | None:
        return read_decisions(self.ledger).get("q")


def unreliable(config: Config) -> tuple[Controller, Unreliable, list[Unreliable]]:
    """A controller whose every step can be watched: its ledger and the parts of its broker."""
    ledger = Unreliable(open_ledger(config), LedgerUnavailable("away"))
    found = backend_for(RedisBroker(url=config.url, namespace=config.namespace, watch=False))
    parts = [
        Unreliable(found.inspector, ConnectionError("away")),
        Unreliable(found.schedule, ConnectionError("away")),
    ]
    backend: Backend = replace(found, inspector=parts[0], schedule=parts[1])  # type: ignore[arg-type]
    return Controller(config, ledger, backend, holder="mortal"), ledger, parts  # type: ignore[arg-type]


def live_until(config: Config, point: str, decisions: int) -> None:
    """Decide that often, then be killed at `point` of the next tick."""
    controller, ledger, parts = unreliable(config)
    decided = 0

    def reached(here: str) -> None:
        if decided >= decisions and here == point:
            os.kill(os.getpid(), signal.SIGKILL)

    for part in (ledger, *parts):
        part.at = reached
    while True:
        decided += controller.tick().outcome == "decided"
        time.sleep(0.1)


@pytest.fixture
def forked() -> Iterator[Callable[[Callable[[], object]], int]]:
    """Runs a function in a child of its own; all are killed at the end of the test."""
    children: list[int] = []

    def fork(function: Callable[[], object]) -> int:
        child = os.fork()
        if child == 0:  # pragma: no cover - measured in no parent
            try:
                function()
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        children.append(child)
        return child

    yield fork
    for child in children:
        try:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def has_ended(child: int) -> bool:
    try:
        return os.waitpid(child, os.WNOHANG) != (0, 0)
    except ChildProcessError:
        return True


POINTS = [
    f"{when} {step}"
    for step in ("lease", "snapshot", "truth", "due_times_of", "publish")
    for when in ("before", "after")
]


def test_one_that_is_killed_at_any_point_is_followed_by_another_that_knows_what_it_knew(
    valkey_url: str, redis_client: Redis, forked: Callable[[Callable[[], object]], int]
) -> None:
    sites = {point: Site(valkey_url, f"at-{point.replace(' ', '-')}") for point in POINTS}
    for site in sites.values():
        site.report()
    children = [
        forked(lambda site=site, point=point: live_until(site.config, point, decisions=3))  # type: ignore[misc]
        for point, site in sites.items()
    ]

    def all_dead() -> bool:
        for site in sites.values():
            site.report()
        time.sleep(0.3)
        return all(has_ended(child) for child in children)

    eventually(all_dead, 30, "the death of all")
    last = {point: site.decision() for point, site in sites.items()}
    heirs = {point: controller_for(site.config) for point, site in sites.items()}
    taken_over: dict[str, Tick] = {}

    def all_followed() -> bool:
        for point, heir in heirs.items():
            sites[point].report()
            tick = heir.tick()
            if tick.outcome == "decided":
                taken_over.setdefault(point, tick)
        return len(taken_over) == len(POINTS)

    eventually(all_followed, 20, "a decision of each heir")
    for point, before in last.items():
        after = taken_over[point].decisions["q"]
        assert before is not None and before.holder == "mortal"
        assert after.desired_workers >= max(WORKERS, before.desired_workers), point
        # Learned by the one before: a controller that begins anew has seen no service yet.
        assert after.inputs["service_time"] == pytest.approx(SERVICE_SECONDS), point
        assert after.inputs["workers"] == WORKERS and after.inputs["desired_before"] >= WORKERS


def test_many_controllers_never_decide_twice(
    valkey_url: str, redis_client: Redis, forked: Callable[[Callable[[], object]], int]
) -> None:
    """They give the lease back after each decision, so that it goes round as fast as it can."""
    site = Site(valkey_url, "crowd")
    site.report()
    receiver, sender = os.pipe()

    def crowd(holder: str) -> None:
        ledger = RedisLedger(Redis.from_url(valkey_url), "crowd")
        backend = backend_for(RedisBroker(url=valkey_url, namespace="crowd", watch=False))
        controller = Controller(site.config, ledger, backend, holder=holder)
        deadline = time.monotonic() + 5.0
        while time.monotonic() < deadline:
            if controller.tick().outcome == "decided":
                published = read_decisions(ledger)["q"]
                if published.holder == holder:
                    os.write(sender, json.dumps([published.decided_at, holder]).encode() + b"\n")
                controller.close()

    children = [forked(lambda name=name: crowd(name)) for name in ("a", "b", "c")]  # type: ignore[misc]

    def over() -> bool:
        site.report()
        return all(has_ended(child) for child in children)

    eventually(over, 30, "their end")
    os.close(sender)
    with os.fdopen(receiver) as pipe:
        decided = sorted(json.loads(line) for line in pipe)
    gaps = [after - before for (before, _), (after, _) in itertools.pairwise(decided)]
    assert len(decided) >= 3 and min(gaps) >= 0.6


def test_an_emptied_ledger_under_a_busy_queue(valkey_url: str, redis_client: Redis) -> None:
    """By the one that remembers, and then by one that does not."""
    site = Site(valkey_url, "emptied")
    controller = controller_for(site.config)
    wanted: list[int] = []

    def decided(by: Controller, *, reports: bool = True) -> Tick | None:
        if reports:
            site.report()
        tick = by.tick()
        wanted.extend(decision.desired_workers for decision in tick.decisions.values())
        return tick if tick.outcome == "decided" else None

    for _ in range(3):
        eventually(lambda: decided(controller), 10, "a decision")
    empty(redis_client, "emptied")
    after = eventually(lambda: decided(controller, reports=False), 10, "a decision without a report")
    assert after.decisions["q"].inputs["workers"] == WORKERS
    assert after.decisions["q"].inputs["service_time"] == pytest.approx(SERVICE_SECONDS)
    assert min(wanted) >= WORKERS

    empty(redis_client, "emptied")
    fresh = controller_for(site.config)
    assert fresh.tick().outcome in ("waiting", "decided")  # its 100 jobs wait, and nobody seems to be there
    eventually(lambda: decided(fresh), 10, "a decision of the fresh one")
    assert min(wanted) >= WORKERS


def empty(client: Redis, namespace: str) -> None:
    client.delete(*client.keys(f"littleq:{namespace}:ledger*"))


def test_a_broker_that_is_down_for_half_a_minute(make_own_server: Callable[..., Any]) -> None:
    server = make_own_server(appendonly="yes", appendfsync="always")
    fleet = Fleet()
    broker = RedisBroker(url=server.url, watch=False)
    actor = dramatiq.actor(lambda: None, broker=broker, actor_name="a", queue_name="q")
    for _ in range(50):
        actor.send()
    controller = Controller(fleet.config, fleet.memory, backend_for(broker), fleet.clock)
    for _ in range(10):
        fleet.run(5, controller)
    before = fleet.decision()
    server.kill()
    fleet.published.clear()
    for _ in range(6):
        fleet.run(5, controller)
    down = fleet.decision()
    assert before is not None and down is not None
    assert down.decision.regime == "blind" and not down.is_stale
    assert set(fleet.published) == {before.desired_workers}
    server.start()
    actor.send()
    fleet.run(5, controller)
    back = fleet.decision()
    assert back is not None and back.decision.regime != "blind"
    assert sum(jobs for _, jobs in back.decision.inputs["backlog"]) == 51
    assert back.desired_workers >= before.desired_workers > 0
    broker.close()


def test_all_workers_gone(our_app: Callable[..., OurApp]) -> None:
    """Their jobs are orphans, which wait, and their presences run out."""
    app = our_app(BUSY)
    actor = app.actor(lambda: None, actor_name="a", queue_name="q")
    for _ in range(40):
        actor.send()
    held = app.broker.consume("q", prefetch=30, timeout=100)
    assert all(next(held) is not None for _ in range(30))
    fleet = Fleet()
    fleet.obeys = False
    controller = Controller(fleet.config, fleet.memory, app.backend, fleet.clock)
    fleet.run(60, controller)
    before = fleet.decision()
    assert before is not None and before.decision.inputs["workers"] == 5

    fleet.lose(5)
    app.client.zadd(f"{app.broker.namespace}:__heartbeats__", {app.broker.broker_id: 1})
    fleet.published.clear()
    fleet.run(30, controller)
    gone = fleet.decision()
    assert gone is not None and gone.decision.inputs["workers"] == 0
    assert sum(jobs for _, jobs in gone.decision.inputs["backlog"]) == 40
    assert min(fleet.published) >= before.desired_workers > 0
    assert gone.events["breach_predicted"] == 1  # by the real clock no job is old yet

    fleet.hire(gone.desired_workers)
    fleet.run(5, controller)
    back = fleet.decision()
    assert back is not None and back.decision.inputs["workers"] == gone.desired_workers


def test_due_times_of_many_queues_are_one_question(our_app: Callable[..., OurApp]) -> None:
    app = our_app(SLAQueueConfig("q", admission="off"), SLAQueueConfig("r", admission="off"))
    for queue, delays in (("q", (1_000, 5_000, 60_000)), ("r", (9_000,))):
        actor = app.actor(lambda: None, actor_name=queue, queue_name=queue)
        for delay in delays:
            actor.send_with_options(delay=delay)
    schedule = app.backend.schedule
    assert schedule is not None
    assert schedule.due_times("q", (0.0, 3.0, 30.0, 300.0)) == [
        0,
        1,
        2,
        3,
    ]  # and the script is known to the server
    with app.round_trips() as asked:
        found = schedule.due_times_of({"q": (0.0, 3.0, 300.0), "r": (8.0, 10.0), "none": (), "other": (1.0,)})
    assert found == {"q": [0, 1, 3], "r": [0, 1], "none": [], "other": [0]}
    assert len(asked) == 1
    assert schedule.due_times_of({}) == {}
