"""A user's own history as a trace: from a ledger, by a clock that is driven, and from what a Prometheus answers."""

from __future__ import annotations

import http.server
import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from littleq.ledger.base import Batch, LedgerSnapshot, LedgerUnavailable
from littleq.ledger.memory import MemoryLedger
from littleq.simulation import recording
from littleq.simulation.recording import from_prometheus, record_ledger
from littleq.simulation.traces import TraceError
from littleq.testing import ManualClock


class Site:
    """A ledger that is told, second by second, what was offered; sleeping lets that time pass."""

    def __init__(self, offered: dict[int, float]) -> None:
        self.clock = ManualClock(1_700_000_000.0)
        self.ledger = MemoryLedger(self.clock)
        self.offered = offered
        self.down: set[int] = set()
        self.interrupt_at: int | None = None
        self._sequence = 0
        self.count(0)

    def count(self, second: int) -> None:
        jobs = self.offered.get(second, 0)
        if jobs:
            self._sequence += 1
            counts = {"offered:default": jobs, "offered:critical": 1.0, "done": 5.0}
            self.ledger.apply(Batch("w", self._sequence, {"q": counts, "other": {"offered:default": 99.0}}))

    def sleep(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            self.clock.advance(1.0)
            second = round(self.clock.monotonic())
            if second == self.interrupt_at:
                raise KeyboardInterrupt
            self.count(second)

    def snapshot(self, queues: Any = None, *, fields: Any = None) -> LedgerSnapshot:
        if round(self.clock.monotonic()) in self.down:
            raise LedgerUnavailable("gone")
        return self.ledger.snapshot(queues, fields=fields)

    def record(self, duration: float = 20.0) -> tuple[tuple[int, int], ...]:
        trace = record_ledger(
            self,
            "q",
            duration=duration,
            step=5.0,
            clock=self.clock,
            sleep=self.sleep,  # type: ignore[arg-type]
        )
        assert (trace.bin_seconds, trace.speed_up) == (5.0, 1.0)
        return trace.bins


def test_the_sends_of_each_step_are_counted_and_not_what_came_before() -> None:
    site = Site({0: 500.0, 2: 3.0, 4: 2.0, 12: 9.0})
    assert site.record() == ((0, 7), (1, 0), (2, 10), (3, 0))


def test_what_came_while_the_ledger_was_away_is_spread_over_that_time() -> None:
    site = Site({3: 4.0, 7: 6.0, 17: 1.0})
    site.down = {10}
    assert site.record() == ((0, 5), (1, 4), (2, 3), (3, 2))


def test_a_ledger_that_was_emptied_counts_from_zero_again() -> None:
    site = Site({0: 100.0, 3: 4.0, 8: 6.0})
    normal = site.count

    def count(second: int) -> None:
        if second == 7:
            site.ledger = MemoryLedger(site.clock)
        normal(second)

    site.count = count  # type: ignore[method-assign]
    assert site.record() == ((0, 5), (1, 7), (2, 0), (3, 0))


def test_ctrl_c_keeps_what_was_counted() -> None:
    site = Site({2: 3.0, 8: 1.0})
    site.interrupt_at = 13
    assert site.record() == ((0, 4), (1, 2))


def test_a_queue_that_nobody_sends_to_gives_no_trace() -> None:
    with pytest.raises(TraceError, match="queue 'q' was sent no job"):
        Site({}).record()


def test_a_ledger_that_is_away_at_the_beginning_is_no_recording() -> None:
    site = Site({2: 3.0})
    site.down = {0}
    with pytest.raises(LedgerUnavailable):
        site.record()


class Server:
    """Answers as it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Callable[[dict[str, str]], tuple[int, Any]] = lambda _: (200, answered())
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urllib.parse.urlsplit(self.path)
                question = dict(urllib.parse.parse_qsl(parts.query))
                site.asked.append({"path": parts.path, **question})
                site.headers.append(dict(self.headers))
                status, body = site.answer(question)
                text = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.host}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def answered(**series: list[tuple[float, str]]) -> dict[str, Any]:
    """A range query's answer, a series a criticality."""
    result = [{"metric": {"criticality": name}, "values": values} for name, values in series.items()]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def bins_of(server: Server, **series: list[tuple[float, str]]) -> tuple[tuple[int, int], ...]:
    """The trace that six points, at 0, 10, … 50 s, give."""
    server.answer = lambda _: (200, answered(**series))
    return from_prometheus(server.url, "q", duration=50.0, step=10.0, end=50.0).bins


def test_prometheus_is_asked_for_the_counter_at_the_end_of_each_step(server: Server) -> None:
    server.answer = lambda _: (200, answered(default=[(1000.0, "40"), (1015.0, "43"), (1030.0, "50")]))
    trace = from_prometheus(server.url + "/prom/", 'q"1', duration=30.0, step=15.0, end=1030.0)
    assert (trace.bin_seconds, trace.speed_up, trace.bins) == (15.0, 1.0, ((0, 3), (1, 7)))
    (asked,) = server.asked
    assert asked["path"] == "/prom/api/v1/query_range"
    assert asked["query"] == 'max by (criticality) (sla_jobs_offered_total{queue="q\\"1"})'
    assert (float(asked["start"]), float(asked["end"]), float(asked["step"])) == (1000.0, 1030.0, 15.0)


def test_the_sends_of_all_criticalities_are_added_up(server: Server) -> None:
    one, other = [(0.0, "1"), (10.0, "3"), (20.0, "3")], [(10.0, "100"), (20.0, "105")]
    assert bins_of(server, default=one, critical=other) == ((0, 2), (1, 5), (4, 0))


def test_a_counter_that_was_reset_makes_no_negative_arrivals(server: Server) -> None:
    assert bins_of(server, default=[(0.0, "100"), (10.0, "4"), (20.0, "6")]) == ((0, 4), (1, 2), (4, 0))


def test_what_came_while_nothing_was_scraped_is_spread_over_that_time(server: Server) -> None:
    assert bins_of(server, default=[(0.0, "1"), (30.0, "8"), (40.0, "9"), (50.0, "9")]) == (
        (0, 3),
        (1, 2),
        (2, 2),
        (3, 1),
        (4, 0),
    )


def test_what_is_no_number_is_left_out(server: Server) -> None:
    points = [(0.0, "1"), (10.0, "NaN"), (20.0, "5"), (30.0, "+Inf"), (40.0, "5")]
    assert bins_of(server, default=points) == ((0, 2), (1, 2), (2, 0), (3, 0), (4, 0))


def test_a_long_history_is_asked_for_in_pieces(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MOST_POINTS", 4)

    def answer(question: dict[str, str]) -> tuple[int, Any]:
        start, end = float(question["start"]), float(question["end"])
        return 200, answered(default=[(at, f"{at:g}") for at in range(0, 101, 10) if start <= at <= end])

    server.answer = answer
    trace = from_prometheus(server.url, "q", duration=100.0, step=10.0, end=100.0)
    assert [(float(each["start"]), float(each["end"])) for each in server.asked] == [
        (0.0, 30.0),
        (40.0, 70.0),
        (80.0, 100.0),
    ]
    assert trace.bins == tuple((index, 10) for index in range(10))


def test_a_password_is_sent_and_never_told(server: Server) -> None:
    server.answer = lambda _: (401, {"status": "error", "error": "who are you"})
    with pytest.raises(TraceError, match="answers 401") as refusal:
        from_prometheus(f"http://me:hunt%40er2@{server.host}", "q", duration=60.0, step=15.0)
    assert "hunt" not in str(refusal.value)
    assert server.headers[0]["Authorization"] == "Basic bWU6aHVudEBlcjI="  # me:hunt@er2


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (400, {"status": "error", "error": "bad step"}, r"answers 400 \(bad step\): check"),
        (502, b"<html>", r"answers 502 \(Bad Gateway\)"),
        (200, b"<html>", "cannot be asked"),
        (200, {"hello": "world"}, "does not answer as a Prometheus does"),
        (200, answered(), "knows of no job sent to queue 'q' in the last 60 s"),
    ],
)
def test_an_answer_that_is_none_is_said_so(server: Server, status: int, body: Any, says: str) -> None:
    server.answer = lambda _: (status, body)
    with pytest.raises(TraceError, match=says) as refusal:
        from_prometheus(server.url, "q", duration=60.0, step=15.0)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("localhost:9090", "is no address of a Prometheus"),
        ("file:///etc/passwd", "is no address of a Prometheus"),
        ("http://", "is no address of a Prometheus"),
        ("http://127.0.0.1:1", "cannot be asked"),
    ],
)
def test_an_address_that_leads_nowhere_is_said_so(url: str, says: str) -> None:
    with pytest.raises(TraceError, match=says):
        from_prometheus(url, "q", duration=60.0, step=15.0)
