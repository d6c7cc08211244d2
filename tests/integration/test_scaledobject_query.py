"""What a ScaledObject asks, answered by a real Prometheus that scrapes real exporters of a fleet under load.

The double of KEDA and the HPA acts on each answer: the fleet follows the decision, and holds when there is none.
"""

from __future__ import annotations

import os
import signal
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from littleq.config import Config
from littleq.manifests.fleet import Fleet
from littleq.manifests.scaledobjects import TRIGGERS, scaled_object
from littleq.manifests.settings import Settings
from littleq.metrics.steps import stepped
from littleq.monitoring.dashboard import dashboard
from littleq.monitoring.queries import desired_workers_query
from littleq.monitoring.rules import rule_groups
from tests.hpa import KEDA, SYNC_SECONDS
from tests.integration.scraping import Exporter, Prometheus
from tests.integration.watched_fleet import QUEUE, Load
from tests.support import eventually

STALE_SECONDS = 4.0
QUERY = desired_workers_query("realtime", stale_seconds=STALE_SECONDS)
STEPPED = desired_workers_query("realtime", gauge="sla_desired_workers_stepped", stale_seconds=STALE_SECONDS)


class Watched:
    """A fleet under load, two exporters, one Prometheus, and a cluster that acts on its answers."""

    def __init__(self, folder: Path, url: str, load: Load) -> None:
        self.folder, self.url, self.load = folder, url, load
        self.exporters = [Exporter(folder, "--redis", url) for _ in range(2)]
        self.ports = [urllib.parse.urlsplit(exporter.url).port for exporter in self.exporters]
        rules = [{**group, "interval": "1s"} for group in rule_groups(load.config)]
        self.prometheus = Prometheus(folder, [f"127.0.0.1:{port}" for port in self.ports], rules)
        fleet = Fleet(Config(queues={"realtime": QUEUE}), Settings(image="littleq:test"))
        manifest = scaled_object(fleet, QUEUE, TRIGGERS["keda"])
        self.keda = KEDA(manifest["spec"], self.answer)
        self.now = 0.0

    def answer(self) -> float | None:
        """Of the query; None where it is empty. Several series would be an error."""
        values = self.prometheus.values(QUERY)
        assert len(values) <= 1
        return values[0] if values else None

    def restart(self, which: int) -> None:
        self.exporters[which] = Exporter(self.folder, "--redis", self.url, "--port", str(self.ports[which]))

    def gives_the_decision(self) -> bool:
        """The ledger says the same before and after, so that is what was to be answered."""
        before, found, after = self.load.decided(), self.answer(), self.load.decided()
        return before == found == after

    def follows(self) -> int:
        """Wait until the query gives the decision and the replicas are that number; returns it."""

        def settled() -> int | None:
            self.turn()
            return self.keda.replicas if self.gives_the_decision() and self._is_there() else None

        return int(eventually(settled, what="replicas as decided"))

    def _is_there(self) -> bool:
        return self.keda.replicas == self.load.decided()

    def turn(self) -> int:
        """One turn of KEDA's poll and of the HPA's loop, in their own time."""
        self.now += SYNC_SECONDS
        self.keda.poll(self.now)
        return self.keda.sync(self.now)

    def is_empty(self) -> None:
        eventually(lambda: self.answer() is None, what="an empty answer")

    def close(self) -> None:
        for exporter in self.exporters:
            exporter.kill()
        self.prometheus.stop()


@pytest.fixture
def watched(tmp_path: Path, valkey_url: str, redis_client: Any) -> Iterator[Watched]:
    with Load(valkey_url).running() as load:
        eventually(load.decided, what="a first decision")
        found = Watched(tmp_path, valkey_url, load)
        try:
            yield found
        finally:
            found.close()


def test_the_query_gives_the_decision_as_long_as_there_is_one(watched: Watched) -> None:
    at_first = watched.follows()
    assert at_first >= 1

    watched.load.rate = 200.0  # most is shed, and counts
    eventually(lambda: (watched.load.decided() or 0) > at_first, what="a decision for more")
    busy = watched.follows()
    assert busy > at_first
    assert watched.prometheus.values("count(sla_desired_workers)") == [2]  # both exporters are asked

    no_decision_empties_it(watched)
    a_frozen_exporter_is_one_that_is_not_there(watched)
    without_an_exporter_it_is_empty(watched)


def no_decision_empties_it(watched: Watched) -> None:
    """The exporters show the gauge for 20 s more: it is the guard of the query that makes it empty."""
    before = watched.keda.replicas
    watched.load.stop_deciding()
    watched.is_empty()
    assert watched.prometheus.values("count(sla_desired_workers)") == [2]
    assert [watched.turn() for _ in range(4)] == [before] * 4  # holds, above its fallback
    watched.load.go_on_deciding()
    watched.follows()


def a_frozen_exporter_is_one_that_is_not_there(watched: Watched) -> None:
    """Its scrape times out, so its last page is forgotten with the first one: it cannot tell an old decision."""
    frozen = watched.exporters[0].process.pid
    os.kill(frozen, signal.SIGSTOP)
    try:
        watched.prometheus.value_is("sum(up)", 1)
        watched.prometheus.value_is("count(sla_desired_workers)", 1)
        watched.follows()
    finally:
        os.kill(frozen, signal.SIGCONT)
    watched.prometheus.value_is("count(sla_desired_workers)", 2)


def without_an_exporter_it_is_empty(watched: Watched) -> None:
    watched.exporters[0].kill()
    watched.prometheus.value_is("sum(up)", 1)
    watched.follows()
    watched.exporters[1].kill()
    watched.is_empty()
    before = watched.keda.replicas
    assert [watched.turn() for _ in range(4)] == [before] * 4
    watched.restart(1)
    watched.follows()


def test_no_panel_is_empty_and_no_rule_fails_under_load(watched: Watched) -> None:
    """Each query of the dashboard has an answer once the rules have been evaluated a few times."""
    watched.load.rate = 60.0
    watched.prometheus.value_is('count(sla_desired_workers{queue="realtime"})', 2)
    expressions = [
        (panel["title"], target["expr"].replace("$queue", "realtime"))
        for panel in dashboard()["panels"]
        for target in panel.get("targets", [])
        if "ALERTS" not in target["expr"]  # none fires yet
    ]
    assert len(expressions) > 25

    def empty() -> list[str]:
        return [f"{title}: {expr}" for title, expr in expressions if not watched.prometheus.values(expr)]

    eventually(lambda: not empty(), what="an answer to every query")
    states = {rule["name"]: rule["health"] for rule in watched.prometheus.rules()}
    assert len(states) > 40
    assert set(states.values()) == {"ok"}, states
    # The stepped gauge is the same decision, rounded up.
    eventually(
        lambda: watched.prometheus.values(STEPPED) == [stepped(watched.load.decided() or 0)],
        what="the stepped gauge",
    )
