"""`littleq health`: a probe. Plain calls are answered before the command line is imported, see `littleq.cli.main`."""

from __future__ import annotations

import click

from littleq.health.probe import probe


@click.command(short_help="Tell whether the workers here live and take jobs.")
@click.option("--live", is_flag=True, help="Only whether they live: a broker that is away does not matter.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def health(*, live: bool, as_json: bool) -> None:
    """Tell whether the worker processes of this machine, or of this container, are ready.

    Ready: each has started, its broker answers, and it fetches from all of its queues. With --live: its loops turn. A
    job that holds the interpreter is excused for as long as its time limit lets it, and a broker that is away is no
    reason to end anybody.

    Asks no server: workers say how they are in small files (LITTLEQ_PULSE_DIR), for this user. That holds for
    `littleq worker`, `up` and `controller`, and for `dramatiq` with an app that calls littleq.install or setup.

    \b
      readinessProbe  exec: littleq health
      livenessProbe   exec: littleq health --live

    Exits with 0 for yes, with 1 for no and one sentence, with 2 where no worker is.
    """
    answer = probe(live=live, as_json=as_json)
    click.echo(answer.line, err=answer.line.startswith("littleq:"))
    raise click.exceptions.Exit(answer.code)
