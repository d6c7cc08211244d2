"""The JSON API of a real exporter over a real ledger, as KEDA's metrics-api trigger asks."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dramatiq
import pytest

from littleq.autoscale.controller import controller_for
from littleq.backends.redis.broker import RedisBroker
from littleq.config import Config, SLAQueueConfig
from tests.integration.scraping import Exporter
from tests.servers import make_own_server
from tests.support import eventually

__all__ = ["make_own_server"]

TOKEN = "t0p-s3cret"
QUEUE = "mail.bulk-2"


class ApiExporter(Exporter):
    """An exporter that can be asked for JSON."""

    def get(self, path: str, token: str | None = None, method: str = "GET") -> tuple[int, Any]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(
            self.url.removesuffix("/metrics") + path, headers=headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=15) as response:
                return response.status, json.loads(response.read() or "null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or "null")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., ApiExporter]]:
    started: list[ApiExporter] = []

    def make(url: str, settings: str = "") -> ApiExporter:
        (tmp_path / "littleq.toml").write_text(f'url = "{url}"\n{settings}')
        started.append(ApiExporter(tmp_path))
        return started[-1]

    yield make
    for exporter in started:
        exporter.kill()


def decide(url: str) -> int:
    """A controller's real decision about a queue in which 40 jobs wait."""
    broker = RedisBroker(url=url, watch=False)
    actor = dramatiq.actor(lambda: None, broker=broker, actor_name="a", queue_name=QUEUE)
    for _ in range(40):
        actor.send()
    broker.close()
    queue = SLAQueueConfig(QUEUE, sla_seconds=1, service_time_seconds=0.5, threads_per_worker=1)
    controller = controller_for(Config(url=url, queues={QUEUE: queue}))
    tick = eventually(lambda: (found := controller.tick()).decisions and found, 15, "a decision")
    controller.close()
    return int(tick.decisions[QUEUE].desired_workers)


def test_keda_reads_the_decision_of_a_real_controller(
    valkey_url: str, redis_client: Any, start: Callable[..., ApiExporter]
) -> None:
    exporter = start(valkey_url)
    desired = decide(valkey_url)
    status, body = exporter.get("/api/v1/queues/mail%2Ebulk%2d2/scaling")
    assert status == 200
    assert body["queue"] == QUEUE and body["desired_workers"] == desired > 0
    assert body["stale"] is False and 0 <= body["age_seconds"] < 20 and body["reason"]
    assert exporter.get("/api/v1/queues") == (200, {"queues": [{"queue": QUEUE, "desired_workers": desired}]})
    assert exporter.get("/api/v1/queues/nosuch/scaling")[0] == 404
    assert exporter.get("/api/v1/queues", method="POST")[0] == 405
    assert exporter.get("/api/v1/queues", method="HEAD") == (200, None)

    record = f"littleq:dramatiq:ledger:record:{QUEUE}"
    redis_client.hset(record, "decided_at", float(redis_client.hget(record, "decided_at")) - 3600)
    stale = eventually(
        lambda: (found := exporter.get(f"/api/v1/queues/{QUEUE}/scaling"))[1]["stale"] and found,
        what="the stale decision",
    )
    assert stale[0] == 200 and stale[1]["desired_workers"] is None


def test_the_token_guards_the_api_alone(
    valkey_url: str, redis_client: Any, start: Callable[..., ApiExporter]
) -> None:
    exporter = start(valkey_url, f'[exporter]\ntoken = "{TOKEN}"\n')
    assert exporter.get("/api/v1/queues")[0] == 401
    assert exporter.get("/api/v1/queues", "wrong")[0] == 401
    assert exporter.get("/api/v1/queues", TOKEN) == (200, {"queues": []})
    assert "sla_up" in exporter.page()  # Prometheus and the probes have none


def test_a_ledger_that_dies_and_comes_back(
    make_own_server: Callable[..., Any], start: Callable[..., ApiExporter]
) -> None:
    server = make_own_server(tcp=True)
    server.client.config_set("requirepass", "hunter2")
    exporter = start(f"redis://:hunter2@127.0.0.1:{server.port}", f"[queues.{json.dumps(QUEUE)}]\n")
    path = f"/api/v1/queues/{QUEUE}/scaling"
    assert exporter.get(path)[0] == 200
    server.kill()
    body = eventually(lambda: (found := exporter.get(path))[0] == 503 and found[1], what="503")
    assert list(body) == ["error"] and "hunter2" not in body["error"] and "\n" not in body["error"]
    server.start().client.config_set("requirepass", "hunter2")
    eventually(lambda: exporter.get(path)[0] == 200, what="200 again")
