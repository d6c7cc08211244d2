"""`littleq explain`: what was decided about a queue, why, and every number that it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from littleq.cli import options
from littleq.cli.terminal import echo_json, make_console

if TYPE_CHECKING:
    from littleq.config import Config
    from littleq.ledger.decisions import Published

#: What to do where nobody decides.
NEXT_STEP = "run `littleq controller`, or `littleq up` to run workers here as well"


@click.command()
@options.connection_options
@options.queues_option("This queue in full; may be repeated. Default: a line a queue.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a queue, with every number.")
def explain(*, url: str | None, config_file: Path | None, queues: tuple[str, ...], as_json: bool) -> None:
    """Explain how many workers a queue shall have.

    Shows the last decision as the controller has published it: the reason, every input with its unit and meaning, the
    steps in between, and the settings. What is shown leads to the decision by arithmetic alone: the same inputs and
    settings give the same numbers and the same sentence. A decision that nobody has renewed for long is called stale,
    and nobody acts on it.

    \b
      littleq explain                       a line a queue
      littleq explain --queue realtime      all of it
      littleq explain --json | jq .decision.inputs.arrival_rate

    Exit code: 0 done, 1 nobody has decided about the queue, 2 it cannot be told.
    """
    from littleq.ledger import open_ledger
    from littleq.ledger.decisions import read_decisions

    config = options.load_config(url, config_file)
    options.shared_ledger(config)
    decisions = read_decisions(open_ledger(config))
    _check(config, queues, decisions)
    names = list(dict.fromkeys(queues)) or sorted({*decisions, *_scaled(config)})
    if as_json:
        for name in names:
            echo_json(record(name, decisions.get(name)))
    elif not names:
        click.echo(f"No queue to decide about: name one in littleq.toml, then {NEXT_STEP}.")
    elif not queues:
        _print_lines(config, names, decisions)
    else:
        _print_all(config, names, decisions)
    if queues and not all(name in decisions for name in names):
        click.get_current_context().exit(1)


def record(queue: str, published: Published | None) -> dict[str, Any]:
    """All that is known of a decision, for scripts: times in seconds, null where nobody has decided."""
    if published is None:
        names = ("decision", "settings", "events", "decided_at", "age_seconds", "stale", "holder")
        return {"queue": queue, **dict.fromkeys(names)}
    return {
        "queue": queue,
        "decision": asdict(published.decision),
        "settings": asdict(published.settings),
        "events": dict(published.events),
        "decided_at": published.decided_at,
        "age_seconds": published.age_seconds,
        "stale": published.is_stale,
        "holder": published.holder,
    }


def _scaled(config: Config) -> tuple[str, ...]:
    from littleq.autoscale.observer import scaled_queues

    return scaled_queues(config)


def _check(config: Config, queues: tuple[str, ...], decisions: Mapping[str, Published]) -> None:
    """Refuse a queue that nobody knows. The broker is asked only about one that is not decided about."""
    from littleq.backends import backend_for, build_broker

    unknown = [name for name in queues if name not in decisions and name not in config.queues]
    if not unknown:
        return
    known = {*decisions, *config.queues, *backend_for(build_broker(config)).inspector.queues()}
    for name in unknown:
        if name not in known:
            raise click.UsageError(options.unknown_queue(name, known))


def _undecided(config: Config, queue: str) -> str:
    """Why there is no decision about a queue, and what to do."""
    if queue == config.control_queue:
        return "it carries the decisions themselves, and has a worker of its own"
    if queue not in config.queues:
        return f"nobody has decided about it: name it in littleq.toml, then {NEXT_STEP}"
    if not config.queues[queue].autoscale:
        return "nobody decides about it: its setting autoscale is off"
    return f"nobody has decided about it: {NEXT_STEP}"


def _print_lines(config: Config, names: list[str], decisions: Mapping[str, Published]) -> None:
    from littleq.cli.explained import lines

    console = make_console()
    reasons = {name: _undecided(config, name) for name in names if name not in decisions}
    console.print(lines(names, decisions, reasons, cut=console.is_terminal))
    if any(published.is_stale for published in decisions.values()):
        click.echo(f"Stale decisions are not acted on; to have new ones, {NEXT_STEP}.")


def _print_all(config: Config, names: list[str], decisions: Mapping[str, Published]) -> None:
    from littleq.cli.explained import pages

    console = make_console()
    for place, name in enumerate(names):
        if place:
            console.print()
        if name not in decisions:
            console.print(f"{name}: {_undecided(config, name)}.", markup=False, soft_wrap=True)
            continue
        console.print(pages(decisions[name]))
        if decisions[name].is_stale:
            click.echo(f"\nIt is too old to act on: {NEXT_STEP}.")
