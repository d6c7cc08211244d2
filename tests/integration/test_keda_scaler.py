"""The external scaler, called by a real gRPC client: four calls, pushes, outages, TLS."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dramatiq
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from littleq.autoscale.controller import controller_for
from littleq.backends.redis.broker import RedisBroker
from littleq.config import Config, SLAQueueConfig
from tests.integration.keda_client import Client, scaler
from tests.servers import MakeServer, Server, make_own_server
from tests.support import eventually

__all__ = ["make_own_server"]

SETTINGS = """
decide_seconds = 1
[queues.q]
max_workers = 40
[queues.staffed]
min_workers = 20
max_workers = 40
"""


class Site:
    """A server with two queues that have been decided about: `q` wants no worker, `staffed` 20."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.folder = server, folder
        (folder / "littleq.toml").write_text(f'url = "{server.url}"\n{SETTINGS}')
        queues = {
            "q": SLAQueueConfig("q", max_workers=40),
            "staffed": SLAQueueConfig("staffed", min_workers=20, max_workers=40),
        }
        self.config = Config(url=server.url, queues=queues, decide_seconds=1.0, flush_seconds=0.2)
        self.controller = controller_for(self.config)
        self.broker = RedisBroker(url=server.url, watch=False)
        self.actor = dramatiq.actor(lambda: None, broker=self.broker, actor_name="a", queue_name="q")
        self.decide()

    def decide(self) -> None:
        eventually(lambda: self.controller.tick().outcome == "decided", what="a decision")

    def forget(self) -> None:
        """No decision is left, as after a day without a controller."""
        client = self.server.client
        for key in client.scan_iter("*:ledger:record:*"):
            client.delete(key)

    def purge(self) -> None:
        self.broker.flush("q")


@pytest.fixture
def site(make_own_server: MakeServer, tmp_path: Path) -> Iterator[Site]:
    made = Site(make_own_server(), tmp_path)
    yield made
    made.controller.close()
    made.broker.close()


@pytest.fixture
def keda(site: Site) -> Iterator[Client]:
    with scaler(site.folder) as (address, _):
        client = Client(address)
        yield client
        client.channel.close()


def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value.code(), error.value.details()


def test_the_four_calls_tell_the_decision(site: Site, keda: Client) -> None:
    (spec,) = keda.stub.GetMetricSpec(keda.ref("staffed")).metricSpecs
    assert (spec.metricName, spec.targetSize, spec.targetSizeFloat) == ("littleq-staffed", 1, 1.0)
    value = keda.metric("staffed")
    assert (value.metricName, value.metricValue, value.metricValueFloat) == ("littleq-staffed", 20, 20.0)
    stepped = keda.metric("staffed", gauge="stepped")
    assert (stepped.metricValue, stepped.metricValueFloat) == (22, 22.0)
    assert keda.is_active("staffed") is True
    assert (keda.metric("q").metricValue, keda.is_active("q")) == (0, False)
    stream = keda.stream("staffed")
    assert stream.next() is True
    stream.close()


def test_a_probe_of_kubernetes_finds_it_healthy_even_without_its_servers(site: Site, keda: Client) -> None:
    """To restart it would help nobody while they are away."""
    stub = health_pb2_grpc.HealthStub(keda.channel)
    site.server.kill()
    for service in ("", "externalscaler.ExternalScaler"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert refusal(keda.is_active)[0] is grpc.StatusCode.UNAVAILABLE


def test_what_is_asked_wrongly_is_refused_in_one_sentence(keda: Client) -> None:
    assert refusal(lambda: keda.is_active(queue="")) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "The trigger's metadata names no queue: add queue: <its name>.",
    )
    assert refusal(lambda: keda.metric("q", gauge="depth")) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "The trigger's metadata has the gauge 'depth': it may be desired or stepped.",
    )
    code, sentence = refusal(lambda: keda.is_active("nobody"))
    assert code is grpc.StatusCode.NOT_FOUND and "'nobody': name it in littleq.toml" in sentence
    code, _ = refusal(lambda: next(iter(keda.stub.StreamIsActive(keda.ref("nobody")))))
    assert code is grpc.StatusCode.NOT_FOUND


def test_without_a_decision_nobody_is_sent_home(site: Site, keda: Client) -> None:
    """No decision, or an old one, is an error: KEDA holds the replicas, or takes its fallback."""
    site.forget()
    eventually(lambda: _is_unavailable(keda), what="the decision's end")
    code, sentence = refusal(keda.is_active)
    assert code is grpc.StatusCode.UNAVAILABLE and "Nobody has decided about queue 'q' yet" in sentence
    stream = keda.stream()
    assert stream.is_quiet(1.0)
    site.actor.send()  # and yet a job is a reason to wake a worker
    assert stream.next() is True
    assert keda.is_active() is True
    assert refusal(keda.metric)[0] is grpc.StatusCode.UNAVAILABLE
    stream.close()


def _is_unavailable(keda: Client) -> bool:
    try:
        keda.metric("q")
    except grpc.RpcError as error:
        return bool(error.code() is grpc.StatusCode.UNAVAILABLE)
    return False


def test_the_first_job_in_an_empty_queue_is_pushed_within_200_ms(site: Site, keda: Client) -> None:
    """The fastest of several: this machine may be busy, but a scaler that looks less often never gets there."""
    stream = keda.stream()
    assert stream.next() is False
    took = []
    for _ in range(8):
        began = time.monotonic()
        site.actor.send()
        assert stream.next() is True
        took.append(time.monotonic() - began)
        site.purge()
        assert stream.next() is False
    took.sort()
    print("from send to push:", " ".join(f"{seconds * 1000:.0f}" for seconds in took), "ms")
    assert took[len(took) // 2] <= 0.2
    stream.close()


def test_a_stream_outlives_an_outage_and_nothing_goes_inactive_by_it(site: Site, keda: Client) -> None:
    site.actor.send()
    busy, idle = keda.stream("q"), keda.stream("staffed")
    assert busy.next() is True and idle.next() is True
    site.server.kill()
    assert busy.is_quiet(3.0) and idle.is_quiet(0.1)
    site.server.start()
    site.purge()
    site.decide()
    assert busy.next() is False
    site.actor.send()
    assert busy.next() is True
    busy.close()
    idle.close()


def test_sigterm_ends_a_stream_in_good_order(site: Site) -> None:
    """An error would double the time after which KEDA comes back, up to a minute, at each restart of the scaler."""
    with scaler(site.folder) as (address, process):
        client = Client(address)
        call = client.stub.StreamIsActive(client.ref("staffed"))
        assert next(call).result is True
        process.terminate()
        assert list(call) == [] and call.code() is grpc.StatusCode.OK
        assert process.wait(10) == 0
        client.channel.close()


def test_streams_leave_nothing_behind(site: Site) -> None:
    with scaler(site.folder) as (address, process):
        client = Client(address)
        streams = [client.stream("staffed") for _ in range(20)]
        assert all(stream.next() for stream in streams)
        threads = _threads(process.pid)
        for _ in range(30):
            for stream in streams:
                stream.close()
            streams = [client.stream("staffed") for _ in range(20)]
            assert all(stream.next() for stream in streams)
        assert _threads(process.pid) <= threads + 5
        for stream in streams:
            stream.close()
        commands = site.server.client
        before = eventually(lambda: _calls_when_quiet(commands), what="silence at the server")
        time.sleep(0.5)  # five looks, if somebody still looked
        assert commands.info("stats")["total_commands_processed"] - before <= 1
        client.channel.close()


def _calls_when_quiet(commands: Any) -> int:
    """Commands so far, once a moment went by without any but ours."""
    before = int(commands.info("stats")["total_commands_processed"])
    time.sleep(0.3)
    after = int(commands.info("stats")["total_commands_processed"])
    return after if after - before <= 1 else 0


def _threads(pid: int) -> int:
    tasks = Path(f"/proc/{pid}/task")
    return len(list(tasks.iterdir())) if tasks.is_dir() else 0


class Authority:
    """A CA, and what it has signed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        (folder / "ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        self._openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.crt")

    def sign(self, name: str) -> tuple[bytes, bytes]:
        self._openssl(f"req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr")
        self._openssl(
            f"x509 -req -days 2 -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile ext -out {name}.crt"
        )
        return (self.folder / f"{name}.key").read_bytes(), (self.folder / f"{name}.crt").read_bytes()

    @property
    def certificate(self) -> bytes:
        return (self.folder / "ca.crt").read_bytes()

    def _openssl(self, arguments: str) -> None:
        subprocess.run(["openssl", *arguments.split()], cwd=self.folder, check=True, capture_output=True)


def _answers(address: str, credentials: Any) -> bool:
    client = Client(address, credentials)
    try:
        return client.is_active("staffed")
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.UNAVAILABLE, error
        return False
    finally:
        client.channel.close()


def test_tls_with_client_certificates_and_renewal(site: Site, tmp_path: Path) -> None:
    ours, others = Authority(tmp_path / "ours"), Authority(tmp_path / "others")
    ours.sign("server")
    key, certificate = ours.sign("keda")
    files = {name: tmp_path / name for name in ("tls.crt", "tls.key", "ca.crt")}
    shutil.copy(ours.folder / "server.crt", files["tls.crt"])
    shutil.copy(ours.folder / "server.key", files["tls.key"])
    files["ca.crt"].write_bytes(ours.certificate)
    arguments = ("--tls-cert", str(files["tls.crt"]), "--tls-key", str(files["tls.key"]))
    with scaler(site.folder, *arguments, "--client-ca", str(files["ca.crt"])) as (address, _):
        trusted = grpc.ssl_channel_credentials(ours.certificate, key, certificate)
        assert _answers(address, trusted)
        assert not _answers(
            address, grpc.ssl_channel_credentials(ours.certificate)
        )  # no certificate of its own
        strange_key, strange = others.sign("stranger")
        assert not _answers(address, grpc.ssl_channel_credentials(ours.certificate, strange_key, strange))
        assert not _answers(address, grpc.ssl_channel_credentials(others.certificate, key, certificate))
        # Renewed by another CA while it runs.
        others.sign("server")
        shutil.copy(others.folder / "server.key", files["tls.key"])
        assert _answers(address, trusted)  # half of it is there: the old pair goes on
        shutil.copy(others.folder / "server.crt", files["tls.crt"])
        renewed = grpc.ssl_channel_credentials(others.certificate, key, certificate)
        assert _answers(address, renewed) and not _answers(address, trusted)
