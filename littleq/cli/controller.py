"""`littleq controller`: the scaling decisions of a fleet whose workers are elsewhere."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from littleq.cli import options

if TYPE_CHECKING:
    from dramatiq import Broker

    from littleq.config import Config

#: An app of LittleQ's own, which follows littleq.toml.
OWN_MODULE = "littleq.autoscale.control"
#: How long a decision may take that is to stop, in seconds.
GRACE_SECONDS = 10.0


@click.command(short_help="Decide how many workers each queue needs.")
@click.argument("modules", nargs=-1, metavar="[MODULES]...")
@click.option("--once", is_flag=True, help="Decide once, print it, and exit.")
@click.option("--json", "as_json", is_flag=True, help="With --once: one JSON object a queue.")
@click.option("--no-exporter", is_flag=True, help="Start no metrics endpoint.")
@options.connection_options
def controller(
    *,
    modules: tuple[str, ...],
    once: bool,
    as_json: bool,
    no_exporter: bool,
    url: str | None,
    config_file: Path | None,
) -> None:
    """Decide how many workers each queue needs, every decide_seconds, and publish it.

    Runs three processes and restarts those that die: periodiq's scheduler, which starts the scaling actor each
    minute; a worker for the control queue alone; and the metrics endpoint, where the decisions are read by
    whatever starts and stops workers. It needs no other worker: a queue at none is decided for like any other.
    Any number of controllers may run, one decides at a time.

    MODULES: your app, if it declares the scaling actor (declare_scaling_actor); its other periodic actors are
    scheduled as well. Default: the actor alone, with the service levels of littleq.toml.

    \b
      littleq controller                     what littleq.toml says
      littleq controller shop.tasks          service levels that are given in Python
      littleq controller --once --json       a look at the next decision

    Stops on SIGTERM or Ctrl-C.
    """
    from littleq.cli.apps import environment, load_app

    if as_json and not once:
        raise click.UsageError("--json goes with --once: add it.")
    names = modules or (OWN_MODULE,)
    changes = environment(url, config_file)
    options.load_config(url, config_file)
    broker = load_app(names, changes)
    _check(broker, names)
    config = _config(broker)
    if once:
        _once(config, as_json)
    else:
        _run(broker, config, names, exporter_wanted=not no_exporter)


def _config(broker: Broker) -> Config:
    from littleq.autoscale.actor import config_of
    from littleq.autoscale.pool.groups import server_problem

    config = config_of(broker)
    if problem := server_problem(broker, config):
        raise click.UsageError(problem)
    return config


def _check(broker: Broker, modules: tuple[str, ...]) -> None:
    """Raise `UsageError` if nobody would decide."""
    from littleq.autoscale.actor import is_declared

    if not is_declared(broker):
        raise click.UsageError(
            f"The module {modules[0]!r} declares no scaling actor: call declare_scaling_actor() of "
            "littleq.autoscale.actor in it, or leave MODULES out."
        )


def _run(broker: Broker, config: Config, modules: tuple[str, ...], *, exporter_wanted: bool) -> None:
    from littleq.autoscale.pool.groups import control_groups, fork_groups
    from littleq.autoscale.pool.loop import Signals, run
    from littleq.autoscale.pool.processes import Launcher
    from littleq.autoscale.pool.supervisor import Supervisor
    from littleq.cli.crews import leave, screen

    signals = Signals()
    groups = [
        *control_groups(config, modules, GRACE_SECONDS),
        *fork_groups(broker, exporter_wanted=exporter_wanted),
    ]
    with screen() as (show, output):
        supervisor = Supervisor(groups, Launcher(output=output))
        number = run(supervisor, signals, lambda: show(supervisor))
    leave(number)


def _once(config: Config, as_json: bool) -> None:
    """Decide, and print what is published then: by this decision, or by another controller's a moment ago."""
    from dataclasses import asdict

    from littleq.autoscale.actor import make_controller
    from littleq.autoscale.controller import FLUSHES
    from littleq.autoscale.observer import scaled_queues
    from littleq.cli.terminal import echo_json
    from littleq.ledger import open_ledger
    from littleq.ledger.decisions import read_decisions

    controller = make_controller(config)
    # A ledger that is empty hears of the workers first: until then nobody is decided about.
    deadline = time.monotonic() + FLUSHES * config.flush_seconds + 1
    while controller.tick().outcome == "waiting" and time.monotonic() < deadline and scaled_queues(config):
        time.sleep(0.2)
    controller.close()
    decisions = read_decisions(open_ledger(config))
    if not decisions and not as_json:
        click.echo("No queue to decide for: name one in littleq.toml, or start a worker.")
    for queue, published in sorted(decisions.items()):
        if as_json:
            echo_json({"queue": queue, **asdict(published)})
        else:
            click.echo(f"{queue}: {published.desired_workers} workers. {published.reason}")
