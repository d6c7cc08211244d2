"""The JSON API over a ledger in memory, by its WSGI call."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from littleq.config import Config, SLAQueueConfig
from littleq.ledger.base import LedgerUnavailable, Record
from littleq.ledger.decisions import document
from littleq.metrics.sources import Source
from littleq.metrics.steps import stepped
from littleq.policies.scaling import Decision, Observation, ScalingSettings, decide
from littleq.server.api import Api, Decisions
from littleq.testing import ManualClock

NOW = 1_700_000_000.0
TOKEN = "s3cret-of-the-house"


@dataclass
class Reader:
    """Records as given, and how often they were asked for."""

    decided: dict[str, Record] = field(default_factory=dict)
    error: Exception | None = None
    reads: int = 0

    def records(
        self, queues: Collection[str] | None = None, *, states: bool = False
    ) -> tuple[float, dict[str, Record]]:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return NOW, dict(self.decided)

    def decide(self, queue: str, age: float = 2.0) -> Decision:
        """300 jobs wait for one worker of one thread."""
        settings = ScalingSettings(sla_seconds=1.0, service_time=0.5, threads_per_worker=1)
        decision, _ = decide(settings, Observation(now=NOW, offered=300.0, ready=300, in_flight=1, workers=1))
        self.decided[queue] = Record(document(decision, settings, {}), None, NOW - age, "h:1")
        return decision


@dataclass
class Client:
    """Calls the application as a server would."""

    config: Config
    reader: Reader = field(default_factory=Reader)
    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        source: Source[Any] = Source("ledger", lambda: self.reader)
        self.api = Api(self.config, Decisions(source, self.clock))

    def call(self, path: str, method: str = "GET", **headers: str) -> tuple[str, Any, Mapping[str, str]]:
        said: list[Any] = []
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path.encode().decode("latin-1"), **headers}
        body = b"".join(self.api(environ, lambda *args: said.extend(args)))  # type: ignore[arg-type,return-value]
        status, sent = said
        return status, json.loads(body) if body else None, dict(sent)


@pytest.fixture
def client() -> Client:
    return Client(Config(queues={"realtime": SLAQueueConfig("realtime"), "quiet": SLAQueueConfig("quiet")}))


@pytest.fixture
def guarded() -> Client:
    return Client(Config(exporter_token=TOKEN))


def scaling(client: Client, queue: str = "realtime") -> Any:
    status, body, _ = client.call(f"/api/v1/queues/{queue}/scaling")
    assert status == "200 OK"
    return body


def test_a_decision_is_told_with_its_reason_and_its_age(client: Client) -> None:
    decision = client.reader.decide("realtime")
    assert stepped(decision.desired_workers) > decision.desired_workers > 9
    assert scaling(client) == {
        "queue": "realtime",
        "desired_workers": decision.desired_workers,
        "desired_workers_stepped": stepped(decision.desired_workers),
        "required_servers": decision.required_servers,
        "regime": decision.regime,
        "reason": decision.reason,
        "decided_at": NOW - 2.0,
        "age_seconds": 2.0,
        "stale": False,
    }


def test_a_stale_decision_has_no_number(client: Client) -> None:
    """20.1 s: three intervals are less, and 20 s is the least."""
    client.reader.decide("realtime", age=20.1)
    body = scaling(client)
    assert (body["desired_workers"], body["desired_workers_stepped"], body["stale"]) == (None, None, True)
    assert body["age_seconds"] == 20.1 and body["reason"]


def test_it_gets_stale_between_two_readings_too(client: Client) -> None:
    client.reader.decide("realtime", age=19.5)
    assert scaling(client)["desired_workers"] is not None
    client.clock.advance(0.75)
    body = scaling(client)
    assert (body["desired_workers"], body["age_seconds"], client.reader.reads) == (None, 20.25, 1)


def test_a_configured_queue_without_a_decision_has_no_number(client: Client) -> None:
    body = scaling(client, "quiet")
    assert (body["desired_workers"], body["stale"], body["decided_at"]) == (None, True, None)
    assert "Nobody has decided" in body["reason"]


def test_all_queues_are_listed_configured_or_decided_about(client: Client) -> None:
    decision = client.reader.decide("realtime")
    client.reader.decide("only-in-python", age=1000.0)
    status, body, headers = client.call("/api/v1/queues")
    assert (status, headers["Content-Type"]) == ("200 OK", "application/json")
    assert body == {
        "queues": [
            {"queue": "only-in-python", "desired_workers": None},
            {"queue": "quiet", "desired_workers": None},
            {"queue": "realtime", "desired_workers": decision.desired_workers},
        ]
    }


def test_many_pollers_read_the_ledger_once_a_second(client: Client) -> None:
    client.reader.decide("realtime")
    for _ in range(100):
        scaling(client)
    assert client.reader.reads == 1
    client.clock.advance(1.0)
    scaling(client)
    assert client.reader.reads == 2


def test_callers_wait_for_one_reading_and_share_its_failure(client: Client) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        began.set()
        go_on.wait(10)
        raise LedgerUnavailable("away")

    client.reader.records = lambda *_, **__: slow()  # type: ignore[assignment,method-assign]
    said: list[str] = []
    callers = [
        threading.Thread(target=lambda: said.append(client.call("/api/v1/queues")[0])) for _ in range(8)
    ]
    for caller in callers:
        caller.start()
    assert began.wait(10)
    client.reader.records = None  # type: ignore[assignment,method-assign] - nobody may ask again
    go_on.set()
    for caller in callers:
        caller.join(10)
    assert said == ["503 Service Unavailable"] * 8


def test_an_outage_is_one_sentence_without_a_secret_and_ends_by_itself(client: Client) -> None:
    client.reader.error = LedgerUnavailable("redis://me:hunter2@db:6379 refused")
    for path in ("/api/v1/queues", "/api/v1/queues/realtime/scaling", "/api/v1/queues/none/scaling"):
        status, body, _ = client.call(path)
        assert status == "503 Service Unavailable"
        assert body == {"error": "The ledger does not answer: see whether its server runs."}
    client.reader.error = None
    client.reader.decide("realtime")
    client.clock.advance(1.0)
    assert scaling(client)["desired_workers"] > 0


def test_a_queue_nobody_knows_is_404(client: Client) -> None:
    status, body, _ = client.call("/api/v1/queues/nosuch/scaling")
    assert status == "404 Not Found"
    assert body["error"].startswith("Nobody has decided about a queue 'nosuch'")


@pytest.mark.parametrize("path", ["/api/", "/api/v1", "/api/v1/queues//scaling", "/api/v1/queues/realtime"])
def test_elsewhere_there_is_only_a_hint(client: Client, path: str) -> None:
    status, body, _ = client.call(path)
    assert status == "404 Not Found"
    assert "/api/v1/queues" in body["error"]
    assert client.reader.reads == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_only_reading_is_possible(client: Client, method: str) -> None:
    status, body, headers = client.call("/api/v1/queues", method)
    assert (status, headers["Allow"]) == ("405 Method Not Allowed", "GET, HEAD")
    assert body["error"].startswith(method)


def test_head_is_get_without_the_body(client: Client) -> None:
    client.reader.decide("realtime")
    status, _, headers = client.call("/api/v1/queues/realtime/scaling")
    head_status, nothing, head_headers = client.call("/api/v1/queues/realtime/scaling", "HEAD")
    assert (head_status, nothing, head_headers) == (status, None, headers)


@pytest.mark.parametrize(
    "header",
    [
        "",
        TOKEN,
        f"Basic {TOKEN}",
        "Bearer ",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer s3crét",
        "Bearer a b",
    ],
)
def test_without_the_token_nothing_is_told(guarded: Client, header: str) -> None:
    """Not even whether a queue exists, nor that the ledger is away."""
    for path in ("/api/v1/queues", "/api/v1/queues/nosuch/scaling", "/api/nothing"):
        status, body, headers = guarded.call(path, HTTP_AUTHORIZATION=header)
        assert (status, headers["WWW-Authenticate"]) == ("401 Unauthorized", 'Bearer realm="littleq"')
        assert TOKEN not in json.dumps(body)
    assert guarded.reader.reads == 0


@pytest.mark.parametrize("header", [f"Bearer {TOKEN}", f"bearer  {TOKEN} "])
def test_with_the_token_all_is_told(guarded: Client, header: str) -> None:
    guarded.reader.decide("realtime")
    status, body, _ = guarded.call("/api/v1/queues", HTTP_AUTHORIZATION=header)
    assert status == "200 OK"
    assert [queue["queue"] for queue in body["queues"]] == ["realtime"]
