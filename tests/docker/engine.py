"""A Docker engine to test on: the one that runs, else one of our own, as root; and images where none can be pulled.

    python -m tests.docker.engine     exit code 0 where the tests can run; else 1, and one line why not

Stand-ins are made of Debian's packages and tagged as the Dockerfile and compose.yaml name the official images, only
where those are neither there nor can be pulled. They are for these tests; what users run is the official images, so
somebody else's engine forgets the stand-ins afterwards.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from docker.errors import DockerException, ImageNotFound

import docker
from tests.support import ROOT

CACHE = ROOT / ".cache" / "docker"
START_SECONDS = 30.0
#: For the base: what official Python images have, as far as the Dockerfile needs it.
PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"
CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")


def connect() -> Any:
    """A client of the engine that DOCKER_HOST names, or of the default one; None: none answers."""
    try:
        client = docker.from_env(timeout=120)
        client.ping()
    except DockerException:
        return None
    return client


def problem() -> str | None:
    """Why no engine can be had; None: one can."""
    if connect() is not None:
        return None
    if shutil.which("dockerd") is None:
        return "no Docker engine answers, and there is no dockerd to start: apt-get install docker.io"
    if os.geteuid() != 0:
        return "no Docker engine answers, and only root can start one"
    try:
        with running():
            return None
    except RuntimeError as error:
        return str(error)


class Engine(NamedTuple):
    """A client of an engine, and whether that was started here."""

    client: Any
    is_own: bool


@contextmanager
def running() -> Iterator[Engine]:
    """An engine; one that was started here is stopped again.

    Raises:
        RuntimeError: there is none, and none can be started.
    """
    found = connect()
    if found is not None:
        yield Engine(found, is_own=False)
        return
    before = os.environ.get("DOCKER_HOST")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="littleq-docker-") as folder,
        (CACHE / "dockerd.log").open("w") as log,
    ):
        address = f"unix://{folder}/docker.sock"
        process = subprocess.Popen(
            [
                "dockerd",
                "--data-root",
                str(CACHE / "data"),
                "--exec-root",
                f"{folder}/exec",
                "--pidfile",
                f"{folder}/pid",
                "--host",
                address,
            ],
            stdout=log,
            stderr=log,
        )
        os.environ["DOCKER_HOST"] = address  # for compose, and for `connect`
        try:
            yield Engine(_wait_for(process), is_own=True)
        finally:
            process.terminate()
            process.wait(60)
            if before is None:
                del os.environ["DOCKER_HOST"]
            else:
                os.environ["DOCKER_HOST"] = before


def _wait_for(process: subprocess.Popen[bytes]) -> Any:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        client = connect()
        if client is not None:
            return client
        time.sleep(0.2)
    lines = (CACHE / "dockerd.log").read_text().strip().splitlines()
    raise RuntimeError(f"dockerd does not start: {lines[-1] if lines else 'it says nothing'}")


def has(client: Any, tag: str) -> bool:
    """Whether the image is there, or can be pulled."""
    try:
        client.images.get(tag)
    except ImageNotFound:
        try:
            client.images.pull(*tag.split(":"))
        except DockerException:  # no registry can be reached
            return False
    return True


def base_tag() -> str:
    """The base that the Dockerfile names."""
    text = (ROOT / "Dockerfile").read_text()
    tag = re.search(r"^ARG PYTHON_TAG=(\S+)$", text, re.MULTILINE)
    assert tag is not None and "FROM python:${PYTHON_TAG}" in text
    return f"python:{tag[1]}"


def service_image(service: str) -> str:
    """The image of a service in compose.yaml."""
    return str(yaml.safe_load((ROOT / "compose.yaml").read_text())["services"][service]["image"])


def provide(client: Any) -> list[str]:
    """Make what is missing; the tags of the stand-ins."""
    made = []
    base = base_tag()
    if not has(client, base):
        _import_base(client, base)
        made.append(base)
    others = {service_image("redis"): _REDIS, service_image("prometheus"): _PROMETHEUS}
    for tag, lines in others.items():
        if not has(client, tag):
            text = _SERVERS.format(base=base) + lines
            client.images.build(fileobj=io.BytesIO(text.encode()), tag=tag, rm=True)
            made.append(tag)
    return made


def forget(client: Any, tags: list[str]) -> None:
    """Take the names of stand-ins away again."""
    for tag in tags:
        client.images.remove(tag, force=True, noprune=True)


#: One layer for both: what the engine has built it keeps.
_SERVERS = """FROM {base}
RUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    redis-server prometheus wget && rm -rf /var/lib/apt/lists/*
"""
_REDIS = """RUN mkdir /data && chown redis:redis /data
VOLUME /data
CMD ["redis-server"]
"""
_PROMETHEUS = """RUN mkdir -p /prometheus && chown nobody /prometheus
USER nobody
VOLUME /prometheus
ENTRYPOINT ["prometheus"]
"""


def _import_base(client: Any, tag: str) -> None:
    """Debian with Python, by debootstrap from the mirror that this machine uses."""
    with tempfile.TemporaryDirectory(prefix="littleq-base-") as folder:
        root, packed = Path(folder) / "rootfs", Path(folder) / "rootfs.tar"
        subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(root), mirror()],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        for marker in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
            marker.unlink()
        with suppress(
            FileNotFoundError
        ):  # the authorities that this machine trusts: a mirror of its own, say
            shutil.copy(Path("/") / CERTIFICATES, root / CERTIFICATES)
        shutil.copy(_sources(), root / "etc/apt" / _sources().relative_to("/etc/apt"))
        shutil.rmtree(root / "var/cache/apt/archives", ignore_errors=True)
        subprocess.run(["tar", "-C", str(root), "-cf", str(packed), "."], check=True)
        name, _, version = tag.partition(":")
        client.api.import_image_from_file(str(packed), repository=name, tag=version)


def _sources() -> Path:
    """Where apt on this machine is told of its mirror."""
    places = [Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list")]
    return next(place for place in places if place.exists() and _uri(place))


def _uri(place: Path) -> str | None:
    found = re.search(r"^(?:URIs:\s*|deb\s+(?:\[[^]]*\]\s+)?)(\S+)", place.read_text(), re.MULTILINE)
    return found[1] if found else None


def mirror() -> str:
    """The mirror of Debian that apt uses on this machine."""
    found = _uri(_sources())
    assert found is not None
    return found


if __name__ == "__main__":
    reason = problem()
    if reason is not None:
        print(reason)
    sys.exit(reason is not None)
