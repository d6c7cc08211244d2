"""A `littleq exporter` and a Prometheus, each of a process of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.support import ROOT, eventually

COMMAND = "from littleq.cli import main; main()"


def unavailable(reason: str) -> NoReturn:
    """Skip on a laptop, fail in CI."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def binary(name: str) -> str:
    return shutil.which(name) or unavailable(f"{name} is not installed: apt-get install prometheus")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=15) as response:
        return str(response.read().decode())


class Exporter:
    """A `littleq exporter` of its own process."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LITTLEQ_")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, "exporter", "--port", "0", *arguments],
            cwd=folder,
            env={**environment, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        found = re.search(r"http://\S+/metrics", said)
        assert found, f"the exporter did not start, it said {said!r}"
        self.url = found[0]

    def page(self) -> str:
        return fetch(self.url)

    def series(self) -> dict[str, float]:
        lines = (line for line in self.page().splitlines() if not line.startswith("#"))
        return {series: float(value) for series, _, value in (line.rpartition(" ") for line in lines)}

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Prometheus:
    """The Debian package's server, with a data folder of its own.

    Args:
        rules: groups of a rules file.
    """

    def __init__(self, folder: Path, targets: list[str], rules: list[dict[str, Any]] | None = None) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        config = folder / "prometheus.yml"
        scrape = {"job_name": "littleq", "scrape_interval": "500ms", "scrape_timeout": "500ms"}
        scrape["static_configs"] = [{"targets": targets}]  # type: ignore[assignment]
        (folder / "rules.yml").write_text(json.dumps({"groups": rules or []}))  # JSON is YAML
        config.write_text(json.dumps({"scrape_configs": [scrape], "rule_files": ["rules.yml"]}))
        self.log = folder / "prometheus.log"
        self.process = subprocess.Popen(
            [
                binary("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT,
        )
        eventually(self._is_ready, what="a ready Prometheus")

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return bool(fetch(f"{self.url}/-/ready"))
        except urllib.error.URLError:
            return False

    def ask(self, query: str) -> dict[str, Any]:
        return dict(json.loads(fetch(f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': query})}")))

    def values(self, query: str) -> list[float]:
        """The values of a query's series, in no order."""
        answer = self.ask(query)
        assert answer["status"] == "success", answer
        return [float(series["value"][1]) for series in answer["data"]["result"]]

    def rules(self) -> list[dict[str, Any]]:
        """Its rules, with how their last evaluation went."""
        groups = json.loads(fetch(f"{self.url}/api/v1/rules"))["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def value_is(self, query: str, value: float) -> None:
        wanted = pytest.approx(value)
        eventually(lambda: self.values(query) == [wanted] or None, what=f"{query} == {value}")

    def is_gone(self, query: str) -> None:
        eventually(lambda: not self.values(query), what=f"no series of {query}")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
