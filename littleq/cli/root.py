"""The root command: finds commands when asked for, turns every error into one sentence and an exit code.

0    done            2    bad input, or a server that does not answer
1    the answer is   130  Ctrl-C
     "no" (audit)    141  whoever read the output has gone away
"""

from __future__ import annotations

import errno
import importlib
import os
import re
import sys
from collections.abc import Sequence

import click

from littleq.redaction import redact_url

#: Where each command is, and its line in `littleq --help`: kept here so that the help imports none of them.
COMMANDS = {
    "worker": ("littleq.cli.worker", "Run workers for the actors of a module."),
    "up": ("littleq.cli.up", "Run workers, as many as the service levels need."),
    "producer": ("littleq.cli.producer", "Send jobs at a chosen rate, and tell what became of them."),
    "monitor": ("littleq.cli.monitor", "Watch queues against their service levels."),
    "dlq": ("littleq.cli.dlq", "List, show, replay and purge dead letters."),
    "queue": ("littleq.cli.queue", "List, pause and resume queues, and cancel delayed jobs."),
    "move": ("littleq.cli.move", "Move the jobs of a queue to another broker."),
    "audit": ("littleq.cli.audit", "Check that every admitted job is accounted for."),
    "controller": ("littleq.cli.controller", "Decide how many workers each queue needs."),
    "explain": ("littleq.cli.explain", "Explain how many workers a queue shall have."),
    "health": ("littleq.cli.health", "Tell whether the workers here live and take jobs."),
    "exporter": ("littleq.cli.exporter", "Serve the metrics of the whole fleet."),
    "scaler": ("littleq.cli.scaler", "Tell KEDA how many workers each queue needs."),
    "plan": ("littleq.cli.plan", "Plan a pool: workers, limits, waits, and what a burst does."),
    "simulate": ("littleq.cli.simulate", "Play jobs to scaling policies in virtual time."),
    "manifests": ("littleq.cli.manifests", "Print what Kubernetes needs, and where it has something else."),
    "config": ("littleq.cli.config", "Show and check the configuration."),
}

USAGE, INTERRUPTED, PIPE_CLOSED = 2, 130, 141

PROGRAM, _COMPLETION = "littleq", "_LITTLEQ_COMPLETE"

_URL = re.compile(r"\S*://\S+")


class LazyGroup(click.Group):
    """A group that imports a command only when it is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[cmd_name][0]}.{cmd_name} is not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from littleq import __version__

        click.echo(f"littleq {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
def cli() -> None:
    """Service levels for Dramatiq task queues.

    Say what a queue promises ("a realtime job waits at most 1 s") in littleq.toml; LittleQ admits, times and
    retries so that the promise holds. These commands run it, load it, and look at it.

    \b
    Start here, with nothing but a module of actors:
      littleq worker actors --queue realtime         one terminal
      littleq producer --queue realtime --rate 20/s  another
      littleq monitor                                a third

    Settings come from littleq.toml, LITTLEQ_* variables and options; `littleq config show` tells which won.
    """


def run(argv: Sequence[str]) -> int:
    """Run the command line; the exit code. Only a bug of ours shows a traceback."""
    try:
        if _COMPLETION in os.environ:
            cli.main(prog_name=PROGRAM)
        # Not `cli.main`: it exits by itself when the reader of a pipe has gone, as if the command had failed.
        with cli.make_context(PROGRAM, list(argv)) as ctx:
            cli.invoke(ctx)
        sys.stdout.flush()
        return 0
    except click.exceptions.Exit as done:
        sys.stdout.flush()
        return done.exit_code
    except (click.Abort, KeyboardInterrupt):
        if sys.stderr.isatty():
            click.echo(err=True)  # the shell's prompt goes below the ^C
        return INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return PIPE_CLOSED
    except Exception as error:
        sentence = explain(error)
        if sentence is None:
            raise
        click.echo(sentence, err=True)
        if _is_full(error):
            _silence_stdout()
    return USAGE


def _is_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno == errno.ENOSPC


def _silence_stdout() -> None:
    """Python flushes stdout once more at exit, and would complain about it then."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def explain(error: Exception) -> str | None:
    """What to say about an error that is no bug of ours, without secrets; None for one that is."""
    from littleq.errors import LittleQError

    # Click 8.1 has no such class: it prints the help by itself.
    if type(error).__name__ == "NoArgsIsHelpError":
        return str(error)
    if isinstance(error, click.UsageError):
        sentence = f"{error.format_message().rstrip('.')}.".replace("\n", " ")
        if error.ctx:
            sentence = f"{sentence} See {error.ctx.command_path} --help."
    elif isinstance(error, click.ClickException):
        sentence = error.format_message()
    elif _is_full(error):
        sentence = "The output cannot be written, for there is no space left: make room, or write elsewhere."
    elif is_connection_error(error):
        reason = str(error).rstrip(".") or type(error).__name__
        sentence = f"The server cannot be used ({reason}): start it, or name another with --url."
    elif isinstance(error, LittleQError):
        sentence = str(error)
    else:
        return None
    return f"{PROGRAM}: {without_secrets(sentence)}"


def is_connection_error(error: BaseException) -> bool:
    """Whether it says that a server is away, refuses us or is not ready."""
    from dramatiq.errors import BrokerConnectionError

    from littleq.ledger.base import LedgerUnavailable

    kinds = (ConnectionError, TimeoutError, BrokerConnectionError, LedgerUnavailable)
    if isinstance(error, kinds) or "redis" not in sys.modules:
        return isinstance(error, kinds)
    from redis import exceptions as redis

    # Not every RedisError: a wrong command or a failing script is a bug of ours.
    return isinstance(
        error,
        (
            redis.ConnectionError,
            redis.InvalidResponse,
            redis.TimeoutError,
            redis.NoPermissionError,
            redis.OutOfMemoryError,
            redis.ReadOnlyError,
        ),
    ) or str(error).startswith("DB index is out of range")


def without_secrets(text: str) -> str:
    """`text` with the user and password of every URL taken out.

    >>> without_secrets("cannot reach redis://me:hunter2@db:6379/0")
    'cannot reach redis://***@db:6379/0'
    """
    return _URL.sub(lambda found: redact_url(found[0]), text)
