"""The image under test, and compose.yaml brought up."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from littleq import __version__
from tests.conftest import free_port
from tests.docker import engine
from tests.support import ROOT, eventually

IMAGE = f"littleq:{__version__}"
#: From `up` until all services are healthy, in seconds.
HEALTHY_SECONDS = 60.0


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    with engine.running() as found:
        began = time.monotonic()
        made = engine.provide(found.client)
        print(f"stand-ins made: {made}, in {time.monotonic() - began:.0f} s")
        yield found.client
        if not found.is_own:
            engine.forget(found.client, made)


@pytest.fixture(scope="session")
def image(client: Any) -> Any:
    """LittleQ's image, built of this checkout as `make image` does."""
    began = time.monotonic()
    index = os.environ.get("PIP_INDEX_URL")
    arguments = {"VERSION": __version__, **({"PIP_INDEX_URL": index} if index else {})}
    built, _ = client.images.build(path=str(ROOT), tag=IMAGE, buildargs=arguments, rm=True)
    print(f"image built in {time.monotonic() - began:.0f} s, {built.attrs['Size'] / 1e6:.0f} MB")
    return built


def compose_command() -> list[str]:
    """Compose v2 if the client has it, else docker-compose."""
    if shutil.which("docker"):
        found = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        if found.returncode == 0:
            return ["docker", "compose"]
    if shutil.which("docker-compose") is None:
        pytest.fail("There is no docker compose: apt-get install docker-compose.")
    return ["docker-compose"]


class Stack:
    """compose.yaml, up: its containers by service."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.healthy_after = float("inf")  # from `up`, in seconds
        self.project = f"littleq-test-{os.getpid()}"
        self.exporter, self.prometheus = free_port(), free_port()
        ports = {"EXPORTER_PORT": str(self.exporter), "PROMETHEUS_PORT": str(self.prometheus)}
        self.environment = {**os.environ, **ports}
        self.command = [
            *compose_command(),
            "--project-name",
            self.project,
            "--file",
            str(ROOT / "compose.yaml"),
        ]

    def compose(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self.command, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def container(self, service: str) -> Any:
        label = [f"com.docker.compose.project={self.project}", f"com.docker.compose.service={service}"]
        (found,) = self.client.containers.list(all=True, filters={"label": label})
        return found

    def health(self, service: str) -> str:
        """`healthy`, `unhealthy`, `starting`; of a service without a check, its status."""
        state = self.container(service).attrs["State"]
        return str(state.get("Health", {}).get("Status") or state["Status"])

    def wait_until_healthy(self, *services: str, seconds: float = HEALTHY_SECONDS) -> None:
        for service in services:
            eventually(
                lambda service=service: self.health(service) == "healthy", seconds, f"{service}: healthy"
            )  # type: ignore[misc]

    def run(self, *arguments: str) -> tuple[int, str]:
        """A `littleq` command beside the controller: its exit code, and what it printed."""
        done = self.container("controller").exec_run(["littleq", *arguments])
        return done.exit_code, done.output.decode()


@pytest.fixture(scope="session")
def stack(client: Any, image: Any) -> Iterator[Stack]:
    made = Stack(client)
    try:
        began = time.monotonic()
        made.compose("up", "--detach", "--no-build")
        made.wait_until_healthy("redis", "controller", "workers", "prometheus")
        made.healthy_after = time.monotonic() - began
        print(f"healthy after {made.healthy_after:.0f} s")
        yield made
    finally:
        logs = made.compose("logs", "--no-color")
        Path(engine.CACHE).mkdir(parents=True, exist_ok=True)
        (engine.CACHE / "compose.log").write_text(logs)
        made.compose("down", "--volumes", "--timeout", "5")
