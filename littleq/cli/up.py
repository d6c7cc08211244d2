"""`littleq up`: workers of an app on this machine, as many as the service levels need."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from littleq.cli import options

if TYPE_CHECKING:
    from dramatiq import Broker

    from littleq.config import Config


@click.command(short_help="Run workers, as many as the service levels need.")
@click.argument("modules", nargs=-1, metavar="[MODULES]...")
@options.queues_option("Only this queue; may be repeated. Default: every queue of the actors.")
@click.option(
    "--grace",
    type=options.DURATION,
    default="30s",
    show_default=True,
    metavar="TIME",
    help="How long the running jobs of a worker may take that is to stop.",
)
@click.option("--no-controller", is_flag=True, help="Obey the decisions that are made elsewhere.")
@click.option("--no-exporter", is_flag=True, help="Start no metrics endpoint.")
@options.connection_options
def up(
    *,
    modules: tuple[str, ...],
    queues: tuple[str, ...],
    grace: float,
    no_controller: bool,
    no_exporter: bool,
    url: str | None,
    config_file: Path | None,
) -> None:
    """Run workers for the actors declared in MODULES (default: actors), as many as are needed.

    Each queue has worker processes of its own, between its min_workers and max_workers, with threads_per_worker
    threads each; the decisions of the controller, which runs here too, say how many. A queue at none is
    woken by its first job. Workers that die are replaced, after growing pauses. Where no decision comes, what runs
    goes on.

    A worker that is to stop gives back what it has not begun, finishes what it runs within --grace, and what even
    then runs goes back to the head of the queue. Idle ones go first.

    \b
      littleq up                        the reference app
      littleq up shop.tasks -q mail     one queue of your own
      littleq up --no-controller        beside `littleq controller`

    One `up` runs a fleet: two would both start what is decided. Ctrl-C or SIGTERM stops gracefully, a second
    one at once.
    """
    from littleq.autoscale.actor import config_of
    from littleq.autoscale.pool.local import LocalPool
    from littleq.autoscale.pool.loop import Signals, run
    from littleq.cli.apps import environment, load_app
    from littleq.cli.crews import leave, screen

    names = modules or ("actors",)
    changes = environment(url, config_file)
    options.load_config(url, config_file)  # a mistake in it is said here, not in each worker's log
    broker = load_app(names, changes)
    served = _queues(broker, config_of(broker), queues)
    signals = Signals()
    with screen() as (show, output):
        pool = LocalPool(
            *(broker, names, served),
            grace=grace,
            decides=not no_controller,
            exporter=not no_exporter,
            output=output,
        )
        pool.start()
        try:
            number = run(pool.supervisor, signals, lambda: show(pool.supervisor))
        finally:
            pool.stop()
    leave(number)


def _queues(broker: Broker, config: Config, wanted: tuple[str, ...]) -> list[str]:
    """The queues to serve.

    Raises:
        click.UsageError: one is not there, or nothing could be served.
    """
    from littleq.autoscale.pool.groups import scaled_queues, server_problem

    if problem := server_problem(broker, config):
        raise click.UsageError(problem)
    known = scaled_queues(broker, config)
    for queue in wanted:
        if queue not in known:
            raise click.UsageError(options.unknown_queue(queue, set(known)))
    return list(dict.fromkeys(wanted)) or known
