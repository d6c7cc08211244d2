"""`littleq worker`: Dramatiq's own worker, started with what LittleQ knows, and ended in order."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
@click.option(
    "--grace",
    type=options.DURATION,
    metavar="TIME",
    help="How long running jobs may take once it is to stop.  [default: 10m, Dramatiq's]",
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
    grace: float | None,
    url: str | None,
    config_file: Path | None,
) -> None:
    """Run workers for the actors declared in MODULES (default: actors).

    Checks the modules and the queues, then becomes `dramatiq`: its logs, signals and exit codes are
    Dramatiq's own. c, the servers of a queue, is concurrency × processes, over all machines.

    SIGTERM: no further job is taken, what has not begun goes back at once, running jobs have --grace, and what even
    then runs goes back too. Exits with 0 then if all is done, with 1 if a job was cut short or a process killed, with 2
    if the app cannot be imported, with 3 if the broker cannot be reached at the start; LITTLEQ_TERMINATION_LOG, or
    Kubernetes' own, has the reason.

    \b
      littleq worker --queue realtime --concurrency 8 --redis localhost:6379
      littleq worker shop.tasks shop.mail -q mail -q reports -p 2
    """
    from littleq.health.pulse import Kind, Pulse

    names = modules or ("actors",)
    command = dramatiq_command(names, queues, concurrency, processes, grace, ctx.meta.get(EXTRA, ()))
    pulse: Pulse | None = None
    with suppress(OSError):  # the worker process says it, with what to do
        pulse = Pulse.begin(Kind.LAUNCHER, inherited=True)
    try:
        with _ended_by(signal.SIGTERM):
            changes = _checked(names, queues, url, config_file)
    except BaseException as error:
        if pulse is not None:
            pulse.end()
        _say_why(error)
        raise
    _become(command, {**os.environ, **changes})


@contextmanager
def _ended_by(number: int) -> Iterator[None]:
    """The first process of a container is deaf for a signal that it has no handler for."""
    before = signal.signal(number, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(number, before)


def _become(command: list[str], environ: dict[str, str]) -> None:
    """Run it in place of this process. A signal that comes before it listens waits until it does."""
    sys.stdout.flush()
    sys.stderr.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP, signal.SIGINT})
    try:
        os.execve(sys.executable, command, environ)  # noqa: S606  # no shell is wanted
    finally:  # it could not be run
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _checked(
    names: tuple[str, ...], queues: tuple[str, ...], url: str | None, config_file: Path | None
) -> dict[str, str]:
    """Changes to the environment, once modules, configuration and queues are found to be right."""
    from littleq.cli.apps import environment, load_app, queues_of

    changes = environment(url, config_file)
    options.load_config(url, config_file)  # a mistake in it is said here, not in each worker's log
    known = queues_of(load_app(names, changes))
    for queue in queues:
        if queue not in known:
            raise click.UsageError(options.unknown_queue(queue, known))
    return changes


def _say_why(error: BaseException) -> None:
    """To whoever reads the termination log; the terminal is told by the root command."""
    from littleq.cli.root import explain
    from littleq.lifecycle import endings

    if isinstance(error, Exception) and (sentence := explain(error)):
        endings.begin()
        endings.say_why(sentence)


def dramatiq_command(
    modules: tuple[str, ...],
    queues: tuple[str, ...],
    concurrency: int,
    processes: int,
    grace: float | None,
    extra: tuple[str, ...],
) -> list[str]:
    """The command line of Dramatiq."""
    command = [sys.executable, "-m", "littleq.lifecycle.launch", *modules]
    if queues:
        command += ["--queues", *dict.fromkeys(queues)]
    command += ["--threads", str(concurrency), "--processes", str(processes)]
    if grace is not None:
        command += ["--worker-shutdown-timeout", str(round(grace * 1000))]
    return [*command, *extra]
