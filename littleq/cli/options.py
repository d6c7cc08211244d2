"""Option types and options that commands share, and the session they open.

Heavy imports (Dramatiq, Redis, pydantic) wait until a command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from littleq.redaction import redact_url

if TYPE_CHECKING:
    from dramatiq import Broker

    from littleq.backends.base import Backend
    from littleq.config import Config
    from littleq.ledger.base import Ledger

    _Float = click.ParamType[float]
    _Text = click.ParamType[str]
else:  # click 8.1 knows no type arguments
    _Float = _Text = click.ParamType

Command = TypeVar("Command", bound=Callable[..., Any])

#: A server may take 2 s to answer a ping, and is asked so often, after so many seconds: one that is merely slow is not
#: away.
PINGS, PING_PAUSE_SECONDS = 2, 0.2

_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
_DURATION = re.compile(rf"{_NUMBER}\s*(ms|s|m|min|h)?")
_RATE = re.compile(rf"{_NUMBER}\s*(?:/\s*(s|m|min|h))?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


class Duration(_Float):
    """`50ms`, `2s`, `1m`, or a bare number of seconds; to seconds, above 0."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, (int, float)):
            return float(value)
        found = _DURATION.fullmatch(value.strip())
        seconds = float(found[1]) * _SECONDS[found[2] or "s"] if found else 0.0
        if not 0 < seconds < math.inf:
            self.fail(f"{value!r} is not a duration above 0: give one such as 50ms, 2s or 1m.", param, ctx)
        return seconds


class Rate(_Float):
    """`20/s`, `600/min`, `5/h`, or a bare number per second; to 1/s, above 0."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, (int, float)):
            return float(value)
        found = _RATE.fullmatch(value.strip())
        rate = float(found[1]) / _SECONDS[found[2] or "s"] if found else 0.0
        if not 0 < rate < math.inf:
            self.fail(f"{value!r} is not a rate above 0: give one such as 20/s or 600/min.", param, ctx)
        return rate


class Above(_Float):
    """A number, with the legal range in the message."""

    name = "number"

    def __init__(self, least: float, *, whole: bool = False) -> None:
        self.least, self.whole = least, whole

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = int(value) if self.whole else float(value)
        except ValueError:
            number = math.nan
        if number >= self.least if self.whole else self.least < number < math.inf:
            return number
        legal = f"a whole number from {self.least:g} up" if self.whole else f"a number above {self.least:g}"
        return self.fail(f"{value!r} is not {legal}.", param, ctx)


class BrokerURL(_Text):
    """`HOST:PORT`, or any URL that `url` in the configuration takes."""

    name = "host:port|url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value).strip()
        shown = redact_url(text)
        scheme, separator, _ = text.partition("://")
        if separator:
            from littleq.config.kinds import BROKERS

            if scheme not in BROKERS:
                legal = ", ".join(f"{name}://" for name in BROKERS)
                self.fail(
                    f"{shown!r} has a scheme that names no broker: give HOST:PORT or {legal}.", param, ctx
                )
            return text
        address = text.rpartition("@")[2]
        host, _, port = address.rpartition(":") if ":" in address else (address, "", "6379")
        legal_port = port.isascii() and port.isdecimal() and 0 < int(port) < 65536
        if not legal_port or not host or re.search(r"[\s/]", address):
            self.fail(
                f"{shown!r} is no address: give HOST:PORT, such as localhost:6379, or a redis:// URL.",
                param,
                ctx,
            )
        return f"redis://{text}" if text.endswith(f":{port}") else f"redis://{text}:{port}"


DURATION = Duration()
RATE = Rate()
COUNT = Above(1, whole=True)
FACTOR = Above(0)
BROKER_URL = BrokerURL()


class InOrder(click.Group):
    """Lists its commands in the order of their use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


def connection_options(command: Command) -> Command:
    """`--url` (or `--redis`) and `--config`, as `url` and `config_file`."""
    server = click.option(
        "--url",
        "--redis",
        "url",
        type=BROKER_URL,
        metavar="HOST:PORT|URL",
        help="The broker's server, instead of the configured one; HOST:PORT is a Redis.",
    )
    config = click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The configuration, instead of the littleq.toml that is found.",
    )
    return server(config(command))


def queues_option(help_text: str) -> Callable[[Command], Command]:
    """`--queue`, repeatable, as `queues`."""
    return click.option("--queue", "-q", "queues", multiple=True, metavar="QUEUE", help=help_text)


@dataclass(frozen=True)
class Session:
    """What a command that reads queues works with."""

    config: Config
    broker: Broker
    backend: Backend
    ledger: Ledger

    def queues(self, wanted: tuple[str, ...]) -> list[str]:
        """The wanted queues, or all that are configured or known to the server, sorted.

        Raises:
            click.UsageError: a wanted queue is neither configured nor known.
        """
        known = self.backend.inspector.queues() | set(self.config.queues)
        for name in wanted:
            if name not in known:
                raise click.UsageError(unknown_queue(name, known))
        return list(dict.fromkeys(wanted)) or sorted(known)

    def count_purged(self, queue: str, jobs: int) -> None:
        """Count deleted jobs in the ledger, where the broker keeps no accounts."""
        from littleq.ledger.accounts import count_purged
        from littleq.ledger.base import LedgerUnavailable

        if not jobs or self.backend.capabilities.accounts.value != "ledger":
            return
        try:
            count_purged(self.ledger, queue, jobs)
        except LedgerUnavailable as error:
            click.echo(
                f"littleq: the ledger does not answer ({error}): `littleq audit` will miss {jobs:,} purged in {queue}.",
                err=True,
            )


def unknown_queue(name: str, known: set[str]) -> str:
    """One sentence about a queue that nobody declared."""
    legal = ", ".join(sorted(known)) or "none yet: start a worker, or name one in littleq.toml"
    return f"No queue is called {name!r}; known queues: {legal}."


def load_config(url: str | None, config_file: Path | None) -> Config:
    """The configuration, with what the command line overrides."""
    from littleq.config.sources import load_config as load

    return load(path=config_file, overrides={"url": url} if url else {})


def shared_ledger(config: Config) -> None:
    """Refuse to go on where no other process counts into the ledger that this command would read.

    Raises:
        click.UsageError: it can only be in this process's memory.
    """
    from littleq.ledger import unshared_problem

    context = click.get_current_context(silent=True)
    if problem := unshared_problem(config, f"`{context.command_path if context else 'littleq'}`"):
        raise click.UsageError(problem)


def ask_server(broker: Broker) -> None:
    """Refuse to begin where the broker's server cannot be used. One that is slow is asked again.

    Raises:
        BrokerUnavailable: it gives no sign of life; on Redis what its client raises.
    """
    from littleq.backends import backend_for

    ping = backend_for(broker).ping
    for attempt in range(1, PINGS + 1):
        try:
            if ping is not None:
                ping()
        except Exception:
            if attempt == PINGS:
                raise
            time.sleep(PING_PAUSE_SECONDS)
        else:
            return


def session(url: str | None, config_file: Path | None) -> Session:
    """Configuration, broker, its backend and the ledger, with the command line's overrides applied."""
    from littleq.backends import backend_for, build_broker
    from littleq.ledger import open_ledger

    config = load_config(url, config_file)
    broker = build_broker(config)
    return Session(config, broker, backend_for(broker), open_ledger(config))
