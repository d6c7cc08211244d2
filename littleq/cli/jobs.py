"""What the producer sends: which actors, and with which arguments."""

from __future__ import annotations

import inspect
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from littleq.cli import options
from littleq.cli.apps import actors_of, environment, load_app, queues_of

if TYPE_CHECKING:
    from dramatiq import Actor, Broker

    #: An actor, and the arguments to send to it.
    Job = tuple[Actor[..., Any], tuple[Any, ...], dict[str, Any]]

Arguments = Callable[[int], tuple[tuple[Any, ...], dict[str, Any]]]


def find_jobs(
    *,
    queue: str | None,
    actor: str | None,
    modules: tuple[str, ...],
    args_json: str | None,
    url: str | None,
    config_file: Path | None,
) -> tuple[str, Iterator[Job]]:
    """The queue, and jobs for its actors in rotation, for ever.

    Raises:
        click.UsageError: no such module, queue or actor, or arguments that an actor does not take.
    """
    broker = load_app(modules, environment(url, config_file))
    actors = _chosen(broker, queue, actor)
    return actors[0].queue_name, _numbered(actors, [_arguments(one, args_json) for one in actors])


def _chosen(broker: Broker, queue: str | None, name: str | None) -> list[Actor[..., Any]]:
    known = queues_of(broker)
    if name is not None:
        if name not in broker.actors:
            legal = ", ".join(sorted(broker.actors))
            raise click.UsageError(f"No actor is called {name!r}; the module declares {legal}.")
        actor = broker.actors[name]
        if queue not in (None, actor.queue_name):
            raise click.UsageError(f"The actor {name!r} stands in queue {actor.queue_name!r}, not {queue!r}.")
        return [actor]
    if queue is None:
        raise click.UsageError(f"Say where to send: --queue, one of {', '.join(sorted(known))}.")
    if queue not in known:
        raise click.UsageError(options.unknown_queue(queue, known))
    return actors_of(broker, queue)


def _numbered(actors: list[Actor[..., Any]], arguments: list[Arguments]) -> Iterator[Job]:
    pairs = itertools.cycle(list(zip(actors, arguments, strict=True)))
    return ((actor, *make(number)) for number, (actor, make) in enumerate(pairs))


def _arguments(actor: Actor[..., Any], args_json: str | None) -> Arguments:
    """The arguments of the n-th send to an actor."""
    numbered = args_json is None and takes_number(actor.fn)
    args, kwargs = _parsed(args_json) if args_json is not None else ((), {})

    def make(number: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return ((number,), {}) if numbered else (args, kwargs)

    first_args, first_kwargs = make(0)
    signature = inspect.signature(actor.fn)
    try:
        signature.bind(*first_args, **first_kwargs)
    except TypeError as error:
        raise click.UsageError(
            f"The actor {actor.actor_name!r} cannot be called that way ({error}): "
            f"it takes {signature}; give --args JSON."
        ) from None
    return make


def _parsed(text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise click.UsageError(
            f"--args is not JSON ({error}): give a list such as '[1]', or an object."
        ) from None
    if isinstance(value, list):
        return tuple(value), {}
    if isinstance(value, dict):
        return (), value
    raise click.UsageError(f"--args is {value!r}: give a list of arguments such as '[1]', or an object.")


def takes_number(function: Callable[..., Any]) -> bool:
    """Whether the first parameter accepts an int: it is not annotated, or with a type that an int fits."""
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or parameters[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):
        return False
    annotation = parameters[0].annotation
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    if annotation is inspect.Parameter.empty:
        return parameters[0].default is inspect.Parameter.empty
    return bool({"int", "float", "complex", "Any", "object"} & {word.strip() for word in text.split("|")})
