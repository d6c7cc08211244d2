"""`littleq queue`: where the jobs of a queue are, whether they are handed out, and when the delayed ones are due."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from littleq.cli import options
from littleq.cli.options import Session, session
from littleq.cli.show import counted
from littleq.cli.terminal import echo_json, make_console

if TYPE_CHECKING:
    from littleq.backends.base import Controls, Schedule


@click.group(cls=options.InOrder)
def queue() -> None:
    """Look at queues, pause and resume them, and cancel delayed jobs.

    \b
      littleq queue list
      littleq queue pause realtime               hand out no more jobs, at once, to all workers
      littleq queue resume realtime
      littleq queue delayed realtime             when the delayed jobs are due
      littleq queue cancel --queue realtime MESSAGE_ID
    """


@queue.command(name="list")
@options.connection_options
@options.queues_option("Only this queue; may be repeated. Default: all queues.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for scripts.")
def list_queues(*, url: str | None, config_file: Path | None, queues: tuple[str, ...], as_json: bool) -> None:
    """List queues and where their jobs are.

    With it, how long the oldest job has been ready, when the next delayed one is due, and whether the queue is paused.
    """
    from littleq.cli import truth as show

    opened = session(url, config_file)
    names = opened.queues(queues)
    found = opened.backend.inspector.truth(names)
    tables = [found[name] for name in names]
    if as_json:
        for table in tables:
            echo_json(show.queue_record(table))
    elif tables:
        show.print_queues(make_console(), tables)
    else:
        click.echo("No queue yet: start a worker, or name one in littleq.toml.")


@queue.command()
@options.connection_options
@click.argument("queues", nargs=-1, required=True, metavar="QUEUE...")
def pause(*, url: str | None, config_file: Path | None, queues: tuple[str, ...]) -> None:
    """Hand out no more jobs of these queues.

    At once, and to no worker, until they are resumed. What a worker holds already, running or prefetched, is finished;
    sends are admitted as ever.
    """
    opened = session(url, config_file)
    controls = _controls(opened)
    for name in opened.queues(queues):
        click.echo(f"{name}  {'paused' if controls.pause(name) else 'was paused already'}")


@queue.command()
@options.connection_options
@click.argument("queues", nargs=-1, required=True, metavar="QUEUE...")
def resume(*, url: str | None, config_file: Path | None, queues: tuple[str, ...]) -> None:
    """Hand out the jobs of these queues again."""
    opened = session(url, config_file)
    controls = _controls(opened)
    for name in opened.queues(queues):
        click.echo(f"{name}  {'resumed' if controls.resume(name) else 'was not paused'}")


@queue.command()
@options.connection_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
@click.argument("name", metavar="QUEUE")
def delayed(*, url: str | None, config_file: Path | None, as_json: bool, name: str) -> None:
    """Tell when the delayed jobs of a queue are due, retries too."""
    from littleq.cli import truth as show

    opened = session(url, config_file)
    _must(opened, opened.backend.capabilities.due_times.value, "tell when delayed jobs are due")
    schedule = _schedule(opened)
    opened.queues((name,))
    table = opened.backend.inspector.truth([name])[name]
    due = show.due_bins(schedule.due_times(name, tuple(show.DUE_BOUNDS)))
    if as_json:
        echo_json(show.due_record(table, due))
    else:
        show.print_due(make_console(), table, due)


@queue.command()
@options.connection_options
@click.option("--queue", "-q", "name", required=True, metavar="QUEUE", help="Where the jobs are delayed.")
@click.argument("message_ids", nargs=-1, required=True, metavar="MESSAGE_ID...")
def cancel(*, url: str | None, config_file: Path | None, name: str, message_ids: tuple[str, ...]) -> None:
    """Take delayed jobs away for good, by message id.

    A pending retry has the id of the message that failed. They count as purged in `littleq audit`. A job that is ready
    or running is not delayed (any more), and stays.
    """
    opened = session(url, config_file)
    _must(opened, opened.backend.capabilities.cancel.value, "cancel a delayed job")
    schedule = _schedule(opened)
    opened.queues((name,))
    cancelled, missing = 0, []
    try:
        for message_id in dict.fromkeys(message_ids):
            found = schedule.cancel(name, message_id)
            cancelled += found
            opened.count_purged(name, found)
            if not found:
                missing.append(message_id)
    finally:
        click.echo(f"{counted(cancelled, 'delayed job')} cancelled.")
    if missing:
        click.echo(f"littleq: not (or no longer) delayed in {name}: {', '.join(missing)}.", err=True)
        click.get_current_context().exit(1)


def _controls(opened: Session) -> Controls:
    _must(opened, opened.backend.capabilities.pause.value, "pause a queue")
    controls = opened.backend.controls
    if controls is None:
        raise _cannot(opened, "pause a queue")
    return controls


def _schedule(opened: Session) -> Schedule:
    schedule = opened.backend.schedule
    if schedule is None:
        raise _cannot(opened, "tell when delayed jobs are due")
    return schedule


def _must(opened: Session, can: bool, what: str) -> None:
    """
    Raises:
        click.ClickException: it cannot.
    """
    if not can:
        raise _cannot(opened, what)


def _cannot(opened: Session, what: str) -> click.ClickException:
    return click.ClickException(
        f"The {opened.backend.name} broker cannot {what}: use LittleQ's RedisBroker (docs/brokers.md compares them)."
    )
