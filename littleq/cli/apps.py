"""Importing the user's module of actors, as Dramatiq does, with a sentence for all that can go wrong."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from littleq.cli.root import explain, without_secrets
from littleq.redaction import redact_url

if TYPE_CHECKING:
    from dramatiq import Actor, Broker


def environment(url: str | None, config_file: Path | None) -> dict[str, str]:
    """What `littleq.setup()` in the module must find in its environment to follow the command line."""
    changes: dict[str, str] = {}
    if url:
        changes["LITTLEQ_URL"] = url
    if config_file:
        changes["LITTLEQ_CONFIG"] = str(config_file)
    return changes


def load_app(modules: Sequence[str], changes: Mapping[str, str]) -> Broker:
    """Import the modules in the changed environment; the broker that their actors use.

    The first may name a broker, or a function that makes one, as for `dramatiq`: `module:broker`.

    Raises:
        click.UsageError: a module is not there, fails, declares no actor, or goes to another server than the
            one that --url names.
    """
    from dramatiq import Broker, get_broker

    os.environ.update(changes)
    try:
        here = str(Path.cwd())
    except FileNotFoundError:
        raise click.UsageError("The current folder is gone: change to the one that holds your app.") from None
    if here not in sys.path:
        sys.path.insert(0, here)  # a console script starts without it
    name, _, attribute = modules[0].partition(":")
    module = _import(name)
    for other in modules[1:]:
        _import(other)
    found = _attribute(module, modules[0], attribute) if attribute else None
    broker = found if isinstance(found, Broker) else get_broker()
    if not broker.actors:
        raise click.UsageError(
            f"The module {name!r} declares no actor: decorate a function with @dramatiq.actor."
        )
    _check_server(broker, name, changes.get("LITTLEQ_URL"))
    return broker


def queues_of(broker: Broker) -> set[str]:
    """The queues that the declared actors stand in."""
    return {actor.queue_name for actor in broker.actors.values()}


def actors_of(broker: Broker, queue: str) -> list[Actor[..., Any]]:
    """The actors of a queue, by name."""
    return [actor for _, actor in sorted(broker.actors.items()) if actor.queue_name == queue]


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise click.UsageError(
                f"No module is called {name!r} in {Path.cwd()} or on the path: "
                "name the module that declares your actors."
            ) from None
        raise click.UsageError(_failed(name, error)) from None
    except Exception as error:
        raise click.UsageError(explain(error) or _failed(name, error)) from None


def _failed(name: str, error: Exception) -> str:
    reason = without_secrets(str(error)).replace("\n", " ").rstrip(".")
    return (
        f"Importing {name!r} failed ({type(error).__name__}: {reason}): "
        f"run `python -c 'import {name}'` to see where."
    )


def _attribute(module: Any, value: str, path: str) -> Any:
    try:
        found = reduce(getattr, path.split("."), module)
    except AttributeError:
        raise click.UsageError(
            f"{value!r} names nothing: the module {module.__name__!r} has no {path!r}."
        ) from None
    return found() if callable(found) else found


def _check_server(broker: Broker, module: str, url: str | None) -> None:
    """A module that builds its own broker ignores LITTLEQ_URL: say so rather than use another server."""
    from littleq.backends import backend_for

    if url is None:
        return
    backend = backend_for(broker)
    if backend.ping is None or backend.serves(url):
        return
    raise click.UsageError(
        f"--url asks for {redact_url(url)}, but the module {module!r} connects to another server or database by "
        "itself: let it call littleq.setup(), or leave --url out."
    )
