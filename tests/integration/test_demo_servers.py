"""The servers of `make demo BROKER=…` end with the demo, however that ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from examples.demo.servers import Server
from littleq.backends import kind_of
from tests.support import ROOT, eventually


def listens(url: str) -> bool:
    endpoint = parse_qs(urlsplit(url).query).get("endpoint", [url])[0]
    place = urlsplit(endpoint)
    with socket.socket() as probe:
        return probe.connect_ex((place.hostname or "", place.port or 0)) == 0


@pytest.mark.parametrize("broker", ["kafka", "sqs"])
def test_it_says_where_it_is_and_is_gone_when_it_is_stopped(tmp_path: Path, broker: str) -> None:
    server = Server(broker, tmp_path / broker)
    kind = kind_of(server.url)
    assert kind is not None
    assert kind.name == broker
    assert listens(server.url)
    server.stop()
    assert not listens(server.url)
    server.stop()


def test_a_demo_that_is_killed_takes_it_along(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from examples.demo.servers import Server;"
        f"print(Server('kafka', Path({str(tmp_path / 'kafka')!r})).url, flush=True); time.sleep(60)"
    )
    demo = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert demo.stdout is not None
    url = demo.stdout.readline().strip()
    assert listens(url)
    demo.send_signal(signal.SIGKILL)
    demo.wait()
    eventually(lambda: not listens(url), 15, "the end of the server")


def test_one_that_does_not_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()  # in its way
    with pytest.raises(
        OSError, match=r"tansu, which speaks Kafka's protocol did not start: [\s\S]*FileExistsError"
    ):
        Server("kafka", tmp_path / "kafka")
