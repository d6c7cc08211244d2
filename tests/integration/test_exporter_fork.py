"""The exporter as a fork of real `dramatiq` processes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.scraping import free_port
from tests.support import eventually

#: The app says in Python what it promises; the exporter, which never imports it, learns that from the ledger.
APP = """
import dramatiq, littleq
from littleq import SLAQueueConfig

littleq.setup(queues=[SLAQueueConfig("realtime", arrival_rate=50, sla_seconds=2.5, percentile=95)])

@dramatiq.actor(queue_name="realtime")
def work():
    pass
"""

Start = Callable[..., "subprocess.Popen[bytes]"]


class Fleet:
    """`dramatiq app` with one exporter port for all."""

    def __init__(self, folder: Path, url: str, start: Start) -> None:
        self.port = free_port()
        self._folder, self._url, self._start = folder, url, start
        (folder / "app.py").write_text(APP)
        self.logs: list[Path] = []

    def start(self, processes: int = 1) -> subprocess.Popen[bytes]:
        arguments = ("--processes", str(processes), "--threads", "3")
        self.logs.append(self._folder / f"dramatiq-{len(self.logs)}.log")
        return self._start("app", *arguments, LITTLEQ_URL=self._url, LITTLEQ_EXPORTER_PORT=str(self.port))

    def series(self) -> dict[str, float]:
        """Of the page; nothing while nobody serves it."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as response:
                page = response.read().decode()
        except OSError:  # refused, or cut off in the middle of its end
            return {}
        lines = (line for line in page.splitlines() if not line.startswith("#"))
        return {series: float(value) for series, _, value in (line.rpartition(" ") for line in lines)}

    def wait_for(self, series: str, value: float) -> dict[str, float]:
        def found() -> dict[str, float] | None:
            page = self.series()
            return page if page.get(series) == value else None

        return dict(eventually(found, what=f"{series} == {value}"))

    def port_is_free(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) != 0

    def log(self, number: int) -> str:
        return self.logs[number].read_text()


@pytest.fixture
def fleet(tmp_path: Path, valkey_url: str, redis_client: Any, dramatiq_processes: Start) -> Fleet:
    return Fleet(tmp_path, valkey_url, dramatiq_processes)


def test_dramatiq_starts_it_and_it_knows_what_only_the_apps_code_says(fleet: Fleet) -> None:
    process = fleet.start(processes=2)
    page = fleet.wait_for("sla_workers", 2)
    page = fleet.wait_for('sla_target_seconds{queue="realtime"}', 2.5)
    assert page['sla_target_ratio{queue="realtime"}'] == 0.95
    assert page['sla_queue_limit{queue="realtime"}'] == 125
    assert page['sla_queue_threads{queue="realtime"}'] == 6
    assert {page[f'sla_up{{source="{source}"}}'] for source in ("ledger", "broker", "page")} == {1}
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert "Traceback" not in fleet.log(0)
    assert fleet.series() == {}, "the fork must be gone with dramatiq"


def test_a_second_one_waits_and_takes_over_when_the_first_is_gone(fleet: Fleet) -> None:
    first = fleet.start()
    fleet.wait_for("sla_workers", 1)
    fleet.start()
    fleet.wait_for("sla_workers", 2)
    eventually(
        lambda: "is in use, most likely by another exporter" in fleet.log(1), what="the second one waiting"
    )
    first.send_signal(signal.SIGTERM)
    assert first.wait(30) == 0
    page = fleet.wait_for("sla_workers", 1)
    assert page['sla_queue_threads{queue="realtime"}'] == 3
    log = fleet.log(1)
    assert log.count("is in use") == 1
    assert len(re.findall(r"\[INFO\].*Serving the fleet's metrics on ", log)) == 1
    assert "Traceback" not in log


def test_it_does_not_outlive_a_dramatiq_that_was_killed(fleet: Fleet) -> None:
    """Nobody would stop it, and it would hold the port for ever."""
    process = fleet.start()
    fleet.wait_for("sla_workers", 1)
    try:
        os.kill(process.pid, signal.SIGKILL)
        eventually(fleet.port_is_free, what="a free port")
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # Dramatiq's workers do outlive it
