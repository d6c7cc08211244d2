"""`littleq worker`: Dramatiq's own worker, started with what LittleQ knows."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from littleq.cli import options

EXTRA = "littleq.cli.worker.extra"


class PassThrough(click.Command):
    """A command that keeps what stands after `--` for another program."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            args, ctx.meta[EXTRA] = args[:at], tuple(args[at + 1 :])
        return super().parse_args(ctx, args)


@click.command(
    cls=PassThrough,
    epilog="Everything after -- goes to dramatiq as it is: littleq worker -- --watch . --verbose",
)
@click.argument("modules", nargs=-1, metavar="[MODULES]...")
@options.queues_option("Serve only this queue; may be repeated. Default: every queue of the actors.")
@click.option(
    "--concurrency",
    "-c",
    type=options.COUNT,
    default=8,
    show_default=True,
    metavar="N",
    help="Jobs at a time in each process (threads).",
)
@click.option(
    "--processes",
    "-p",
    type=options.COUNT,
    default=1,
    show_default=True,
    metavar="N",
    help="Worker processes.",
)
@options.connection_options
@click.pass_context
def worker(
    ctx: click.Context,
    *,
    modules: tuple[str, ...],
    queues: tuple[str, ...],
    concurrency: int,
    processes: int,
    url: str | None,
    config_file: Path | None,
) -> None:
    """Run workers for the actors declared in MODULES (default: actors).

    Checks the modules and the queues, then becomes `dramatiq`: its logs, signals and exit codes are
    Dramatiq's own. c, the servers of a queue, is concurrency × processes, over all machines.

    \b
      littleq worker --queue realtime --concurrency 8 --redis localhost:6379
      littleq worker shop.tasks shop.mail -q mail -q reports -p 2
    """
    from littleq.cli.apps import environment, load_app, queues_of

    names = modules or ("actors",)
    changes = environment(url, config_file)
    options.load_config(url, config_file)  # a mistake in it is said here, not in each worker's log
    known = queues_of(load_app(names, changes))
    for queue in queues:
        if queue not in known:
            raise click.UsageError(options.unknown_queue(queue, known))
    command = dramatiq_command(names, queues, concurrency, processes, ctx.meta.get(EXTRA, ()))
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(  # noqa: S606  # no shell is wanted
        sys.executable, command, {**os.environ, **changes}
    )


def dramatiq_command(
    modules: tuple[str, ...],
    queues: tuple[str, ...],
    concurrency: int,
    processes: int,
    extra: tuple[str, ...],
) -> list[str]:
    """The command line of Dramatiq."""
    command = [sys.executable, "-m", "dramatiq", *modules]
    if queues:
        command += ["--queues", *dict.fromkeys(queues)]
    return [*command, "--threads", str(concurrency), "--processes", str(processes), *extra]
