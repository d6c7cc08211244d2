"""`littleq simulate`, as the console script runs it: tables, JSON, pictures, histories of real servers, bad input."""

from __future__ import annotations

import json
import math
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from littleq.backends.redis.urls import redis_client as connect
from littleq.cli.root import run
from littleq.config import Config
from littleq.ledger import Batch, open_ledger
from littleq.simulation.traces import read_trace
from tests.integration.scraping import Exporter, Prometheus
from tests.support import ROOT, eventually

LLM = ROOT / "examples" / "traces" / "llm_conv.csv"
QUICK = ("--arrivals", "poisson:5", "--duration", "5m")

Answer = tuple[int, str, str]


@pytest.fixture
def simulate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """Run `littleq simulate ARGS…` in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*args: str) -> Answer:
        capsys.readouterr()
        code = run(["simulate", *args])
        return (code, *capsys.readouterr())

    return call


def report(answer: Answer) -> dict[str, Any]:
    code, out, err = answer
    assert (code, err) == (0, "")
    return dict(json.loads(out))


def test_the_table_has_a_line_for_every_policy(simulate: Callable[..., Answer]) -> None:
    code, out, err = simulate(*QUICK, "--service", "exp:1", "--sla", "10s")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert "jobs in 300 s" in out.replace("5 min", "300 s")
    assert "99 % started within 10 s; a worker starts in 30 s" in out
    names = [line.split()[0] for line in lines[3:9]]
    assert names == ["littleq", "hpa-cpu", "keda-list:5", "aws-backlog", "horizon", "static"]
    assert all("met" in line or "missed" in line for line in lines[3:9])
    assert "no scaler below" in lines[-1]


def test_json_tells_what_the_table_tells_and_more(simulate: Callable[..., Answer]) -> None:
    told = report(simulate(*QUICK, "--policy", "static,hpa-cpu", "--service", "constant:1", "--json"))
    assert told["jobs"] == pytest.approx(1500, rel=0.15)
    assert (told["seconds"], told["service_time"], told["service_scv"]) == (300.0, 1.0, 0.0)
    static, hpa = told["policies"]
    assert (static["policy"], hpa["policy"]) == ("static", "hpa-cpu")
    assert static["met"] is (static["share_in_sla"] >= 0.99)
    assert static["worker_seconds"] / told["oracle"]["worker_seconds"] == pytest.approx(
        static["ratio_to_oracle"]
    )
    assert told["oracle"]["floor_seconds"] <= told["oracle"]["worker_seconds"] <= static["worker_seconds"]


def test_the_same_seed_gives_the_same_answer_and_another_one_another(simulate: Callable[..., Answer]) -> None:
    def waits(*more: str) -> Any:
        return report(simulate(*QUICK, "--policy", "static:2", "--json", *more))["policies"][0]["wait_mean"]

    assert waits() == waits() == waits("--seed", "0")
    assert waits("--seed", "1") != waits()


def test_a_trace_is_played_whole(simulate: Callable[..., Answer]) -> None:
    told = report(simulate("--trace", str(LLM), "--policy", "static", "--no-oracle", "--json"))
    assert told["jobs"] == read_trace(LLM).total
    assert told["oracle"] is None
    assert told["policies"][0]["ratio_to_oracle"] is None
    faster = report(
        simulate("--trace", str(LLM), "--speed-up", "10", "--policy", "static", "--no-oracle", "--json")
    )
    assert faster["seconds"] == pytest.approx(told["seconds"] / 10)


def test_a_pool_of_a_given_size_is_the_pool(simulate: Callable[..., Answer]) -> None:
    options = ("--policy", "static:9", "--threads", "2", "--start-up", "0", "--no-oracle", "--json")
    (static,) = report(simulate(*QUICK, *options))["policies"]
    assert (static["peak_workers"], static["worker_starts"]) == (9, 9)
    assert static["worker_seconds"] == pytest.approx(9 * static["seconds"])


def test_shed_jobs_are_missed_and_shown(simulate: Callable[..., Answer]) -> None:
    overload = ("--arrivals", "poisson:20", "--duration", "2m", "--service", "exp:1", "--policy", "static:5")
    contract = ("--admission", "contract", "--arrival-rate", "5/s")
    told = report(simulate(*overload, *contract, "--json"))["policies"][0]
    assert told["shed"] > 1000
    assert told["missed"] >= told["shed"]
    assert "shed" in simulate(*overload, *contract)[1]
    assert "shed" not in simulate(*overload)[1]


def test_a_promise_that_nobody_can_keep_is_said_so(simulate: Callable[..., Answer]) -> None:
    impossible = ("--service", "constant:2", "--sla", "1s", "--sla-on", "sojourn", "--policy", "static")
    _, out, _ = simulate(*QUICK, *impossible)
    assert "done within 1 s" in out
    assert "Even one who knows the future cannot keep this promise" in out
    assert report(simulate(*QUICK, *impossible, "--json"))["oracle"]["worker_seconds"] is None


def test_the_picture_and_the_trace_are_written(simulate: Callable[..., Answer], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")
    told = report(simulate(*QUICK, "--plot", "p.png", "--save-trace", "t.csv", "--step", "5s", "--json"))
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    trace = read_trace(tmp_path / "t.csv")
    assert (trace.total, trace.seconds()) == (told["jobs"], 300.0)
    again = report(simulate("--trace", "t.csv", "--policy", "static", "--json"))
    assert again["jobs"] == told["jobs"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "Say when jobs arrive, once"),
        (("--trace", "t.csv", "--arrivals", "poisson:5"), "Say when jobs arrive, once"),
        (("--trace", "nowhere.csv"), "The trace nowhere.csv cannot be read"),
        (("--arrivals", "poison:5"), "'poison:5' is no arrival process: give poisson:20"),
        (("--arrivals", "poisson:5", "--service", "slow"), "--service: 'slow' is no service time"),
        (("--arrivals", "poisson:5", "--policy", "littleq,magic"), "'magic' is no policy"),
        (("--arrivals", "poisson:5", "--policy", ","), "--policy is empty"),
        (("--arrivals", "poisson:5", "--percentile", "100"), "--percentile is 100: give a share"),
        (("--arrivals", "poisson:5", "--percentile", "nan"), "--percentile is nan: give a share"),
        (("--arrivals", "poisson:5", "--sla", "0"), "'0' is not a duration above 0"),
        (("--arrivals", "poisson:5", "--start-up", "-1s"), "'-1s' is not a duration"),
        (("--arrivals", "poisson:5", "--min-workers", "9", "--max-workers", "3"), "--min-workers 9 is above"),
        (
            ("--arrivals", "poisson:5", "--initial-workers", "2000"),
            "--initial-workers is 2000: give a number",
        ),
        (("--arrivals", "poisson:5", "--initial-workers", "some"), "'some' is not a whole number"),
        (("--arrivals", "poisson:5", "--speed-up", "2"), "--speed-up is for a trace"),
        (("--trace", str(LLM), "--duration", "5m"), "--duration is for --arrivals"),
        (("--arrivals", "poisson:0.0001", "--duration", "1s"), "Not one job arrives"),
        (("--arrivals", "poisson:5", "--admission", "contract"), "give --arrival-rate"),
        (("--arrivals", "poisson:5", "--arrival-rate", "3"), "give both or neither"),
        (("--arrivals", "poisson:5", "--queue", "q"), "--queue says whose history"),
        (("--from-prometheus", "http://127.0.0.1:1"), "Name the queue with --queue"),
        (("--from-prometheus", "http://me:hunter2@127.0.0.1:1", "--queue", "q"), "cannot be asked"),
        (("--record", "r.csv", "--queue", "q", "--arrivals", "poisson:5"), "--record only records"),
        (("--record", "r.csv", "--queue", "q", "--plot", "p.png"), "--record only records"),
        (("--record", "no/such/r.csv", "--queue", "q"), "no/such/r.csv cannot be written"),
        (("--record", "r.csv"), "Name the queue with --queue"),
        (("--record", "r.csv", "--queue", "q", "--redis", "127.0.0.1:1"), "cannot be"),
        (("--arrivals", "poisson:5", "--plot", "no/such/folder.png"), "cannot be written"),
        (("--arrivals", "poisson:5", "--save-trace", "no/such/trace.csv"), "cannot be written"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    simulate: Callable[..., Answer], args: tuple[str, ...], says: str
) -> None:
    code, out, err = simulate(*args)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert "hunter2" not in err


class Sender(threading.Thread):
    """Counts sends to `realtime` in a ledger, one job at a time, until it is stopped."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.sent = 0
        self._ledger = open_ledger(Config(url=url))
        self._stopped = threading.Event()

    def send(self) -> None:
        self.sent += 1
        counts = {"realtime": {"offered:default": 1.0}}
        self._ledger.apply(Batch(writer="w1", sequence=self.sent, counts=counts))

    def run(self) -> None:
        while not self._stopped.wait(0.02):
            self.send()

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def test_a_live_queue_is_recorded_and_played(
    simulate: Callable[..., Answer], valkey_url: str, redis_client: Any, tmp_path: Path
) -> None:
    sender = Sender(valkey_url)
    sender.send()  # what came before is not of this recording
    sender.start()
    options = ("--queue", "realtime", "--duration", "2s", "--step", "500ms", "--redis", valkey_url)
    try:
        before = sender.sent
        code, out, err = simulate("--record", "live.csv", *options)
        after = sender.sent
    finally:
        sender.stop()
    assert (code, out) == (0, "")
    trace = read_trace(tmp_path / "live.csv")
    assert 0 < trace.total <= after - before
    assert (len(trace.bins), trace.bin_seconds) == (4, 0.5)
    assert f"{trace.total} arrival" in err
    assert "queue realtime" in (tmp_path / "live.csv").read_text()
    assert report(simulate("--trace", "live.csv", "--policy", "static", "--json"))["jobs"] == trace.total


def test_the_history_that_a_prometheus_has_is_played(
    simulate: Callable[..., Answer], valkey_url: str, redis_client: Any, tmp_path: Path
) -> None:
    """Sends, a ledger that is emptied in the middle, sends again: no negative bin, and no job twice."""
    metric = 'sum(sla_jobs_offered_total{queue="realtime"})'
    exporter = Exporter(tmp_path, "--redis", valkey_url)
    prometheus = None
    try:
        sender = Sender(valkey_url)
        sender.send()
        prometheus = Prometheus(tmp_path, [urllib.parse.urlsplit(exporter.url).netloc])
        prometheus.value_is(metric, 1)
        begun = time.time()
        # What came before the first step that is asked for is nobody's: that step has to see the 1.
        eventually(lambda: math.floor(time.time()) > math.floor(begun), what="the next whole second")
        for _ in range(30):
            sender.send()
        history = (
            "--from-prometheus",
            prometheus.url,
            "--queue",
            "realtime",
            "--duration",
            "2m",
            "--step",
            "1s",
        )
        options = ("--policy", "static", "--no-oracle", "--save-trace", "h.csv", "--json")

        def played(jobs: int) -> bool:
            """Not at once: what is not scraped, or whose step has not ended, is not there yet."""
            code, out, _ = simulate(*history, *options)
            return code == 0 and json.loads(out)["jobs"] == jobs

        eventually(lambda: played(30), what="a history of 30 jobs")
        connect(valkey_url).flushall()
        again = Sender(valkey_url)
        for _ in range(12):
            again.send()
        eventually(lambda: played(42), what="a history of 42 jobs")
        trace = read_trace(tmp_path / "h.csv")
        assert trace.total == 42
        assert trace.seconds() == 120.0
        assert min(arrivals for _, arrivals in trace.bins) >= 0
        assert "127.0.0.1" not in (tmp_path / "h.csv").read_text()
        code, _, err = simulate(*history[:2], "--queue", "nobody", "--duration", "1m")
        assert (code, "knows of no job sent to queue 'nobody'" in err) == (2, True)
    finally:
        exporter.kill()
        if prometheus is not None:
            prometheus.stop()
