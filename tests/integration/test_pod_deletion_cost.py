"""Pod deletion costs: real workers on a real server, and a strict double of the API server."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from littleq.autoscale.pods.api import PodsAPI, PodsUnavailable
from littleq.autoscale.pods.costs import Pod
from littleq.config import SLAQueueConfig
from littleq.errors import ConfigurationError
from littleq.ledger.redis import RedisLedger
from tests.integration.api_server import ApiServer
from tests.integration.worker_pods import COMMAND, WorkerPod, actors_of
from tests.support import OurApp, eventually

#: Workers of one machine that say, as pods do, that they are hosts of their own.
AS_HOST = """
import os, socket, sys
socket.gethostname = lambda: os.environ["TEST_HOST"]
from dramatiq.cli import main, make_argument_parser
sys.exit(main(make_argument_parser().parse_args(sys.argv[1:])))
"""
SETTINGS = """
url = "{url}"
decide_seconds = 1
pod_deletion_cost = true
[exporter]
enabled = false
[queues.q]
admission = "off"
sla_seconds = 5
max_workers = 5
"""


@pytest.fixture
def server() -> Iterator[ApiServer]:
    made = ApiServer()
    yield made
    made.close()


@pytest.fixture
def kubeconfig(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = server.kubeconfig(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


@pytest.fixture
def start(tmp_path: Path, valkey_url: str) -> Iterator[Callable[..., WorkerPod]]:
    made: list[WorkerPod] = []

    def start(name: str, command: tuple[str, ...], **environment: str) -> WorkerPod:
        made.append(WorkerPod(tmp_path / name, valkey_url, command=command, **environment))
        return made[-1]

    yield start
    for pod in made:
        pod.close()


def test_the_pod_that_runs_jobs_costs_more_than_the_idle_one(
    *,
    server: ApiServer,
    kubeconfig: Path,
    start: Callable[..., WorkerPod],
    our_app: Callable[..., OurApp],
    tmp_path: Path,
    valkey_url: str,
) -> None:
    app: Any = actors_of(our_app(SLAQueueConfig("q", admission="off")))
    server.add("pod-a")
    server.add("pod-b", cost="9")
    server.add("pod-c", deletionTimestamp="2026-11-24T10:00:00Z")
    worker = ("-c", AS_HOST, "pod_app", "--processes", "1", "--threads", "4", "--queues", "q")
    busy = start("a", worker, TEST_HOST="pod-a").until_ready()
    for number in range(3):
        app.hold.send(number)
    eventually(lambda: len(busy.numbers("began")) == 3, 20, "three jobs in one pod")
    start("b", worker, TEST_HOST="pod-b").until_ready()
    ledger = RedisLedger(app.client)
    eventually(lambda: list(ledger.busy().values()) == [3], 10, "a ledger that knows")

    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "littleq.toml").write_text(SETTINGS.format(url=valkey_url))
    controller = start("c", ("-c", COMMAND, "controller"), KUBECONFIG=str(kubeconfig))
    eventually(lambda: (server.cost("pod-a"), server.cost("pod-b")) in ((2, 0), (3, 0)), 30, "the costs")
    for number in range(3):
        busy.go(number)
    eventually(lambda: server.cost("pod-a") == 0, 20, "an idle pod's cost")
    assert server.wrong == []
    assert {name for name, _ in server.patched} == {"pod-a", "pod-b"}, "none that is about to go"
    assert len(server.patched) <= 4, "and not for every job"
    log = controller.log()
    assert "Pod deletion costs are not kept" not in log
    assert server.token not in log


def test_what_the_api_server_refuses_is_told_with_the_next_step(server: ApiServer, kubeconfig: Path) -> None:
    api = PodsAPI()
    assert api.namespace == "shop", "of the account"
    server.add("a")
    for answer, pause, says in [
        (
            (403, {}),
            60.0,
            "may not list pods in namespace 'shop': give it a Role with list and patch on pods",
        ),
        ((429, {"Retry-After": "7"}), 7.0, "the API server says 429 (TooManyRequests)"),
        ((500, {}), 15.0, "the API server says 500 (InternalError)"),
    ]:
        server.answer = answer
        with pytest.raises(PodsUnavailable) as raised:
            api.pods()
        assert says in str(raised.value)
        assert raised.value.pause_seconds == pause
    server.answer = None
    [found] = api.pods()
    server.gone.add("a")
    api.set_cost(found, 3)  # gone by now: nobody to care for
    server.answer = (403, {})
    with pytest.raises(PodsUnavailable, match="may not patch pods"):
        api.set_cost(found, 3)
    server.close()
    with pytest.raises(PodsUnavailable, match="does not answer"):
        PodsAPI().pods()  # over a connection of its own
    assert server.wrong == []


def test_a_pod_without_our_annotations_is_read_all_the_same(server: ApiServer, kubeconfig: Path) -> None:
    server.add("a" * 70)
    del server.pods["a" * 70]["metadata"]["annotations"]
    server.pods["a" * 70]["metadata"]["labels"]["littleq-queue"] = "slug"
    assert PodsAPI().pods() == [Pod("a" * 70, "a" * 63, "slug", 0)]


@pytest.mark.usefixtures("server")
def test_without_an_account_it_is_said_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigurationError, match="mount the service account's token"):
        PodsAPI()
    monkeypatch.setitem(sys.modules, "lightkube", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'littleq\[kubernetes\]'"):
        PodsAPI()
    assert os.environ["KUBECONFIG"]
