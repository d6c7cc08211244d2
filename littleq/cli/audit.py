"""`littleq audit`: is every job that was ever admitted accounted for?"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from littleq.cli import options
from littleq.cli.options import Session, session
from littleq.cli.show import counted
from littleq.cli.terminal import echo_json, make_console

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from littleq.backends.base import Inspector, TruthTable

#: How often a queue is read again when its count of strangers changed between two reads.
ATTEMPTS = 3

#: Where an admitted job can be, in the order of its life.
STATES = ("ready", "in_flight", "orphaned", "delayed", "dead")
ENDS = ("done", "skipped", "purged")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the audit of one queue found.

    Attributes:
        strangers: jobs in the queue that never passed LittleQ; None when there was no need to look.
        difference: admitted minus accounted for, strangers left out: > 0 lost, < 0 too many; None: no
            accounts.
        tolerance: most jobs by which the accounts may be off; None: they are the broker's, and exact.
        per_death: how much of it each killed process adds.
    """

    table: TruthTable
    strangers: int | None
    difference: int | None
    tolerance: int | None = None
    per_death: int = 0

    @property
    def holds(self) -> bool | None:
        """Whether the conservation law holds; None where the broker keeps no accounts."""
        return None if self.difference is None else abs(self.difference) <= (self.tolerance or 0)


def examine(inspector: Inspector, queue: str) -> Verdict:
    """Audit one queue.

    The truth table is read in one instant, so it balances exactly but for jobs from elsewhere. Those can
    only be counted by a scan, a little later: where they come and go meanwhile, we read again.
    """
    attempts = 0
    while True:
        attempts += 1
        table = inspector.truth([queue])[queue]
        if not table.imbalance:
            return Verdict(table, None, table.imbalance)
        strangers = inspector.strangers(queue)
        verdict = Verdict(table, strangers, table.imbalance + strangers)
        if verdict.holds or attempts >= ATTEMPTS:
            return verdict


def examined(opened: Session, queue: str, *, killed: int = 0) -> Verdict:
    """Audit one queue by the accounts that there are, the broker's or the ledger's."""
    if opened.backend.capabilities.accounts.value == "ledger":
        return examine_by_ledger(opened, queue, killed=killed)
    return examine(opened.backend.inspector, queue)


def examine_by_ledger(
    opened: Session, queue: str, *, killed: int = 0, pause: Callable[[float], None] = time.sleep
) -> Verdict:
    """Audit one queue whose accounts the ledger keeps.

    Two servers are read, one after the other, and neither tells of this very instant: where they do not agree, we wait
    for the next flush of all processes and read again.
    """
    from littleq.ledger.accounts import ledger_accounts

    config = opened.config
    attempts = 0
    while True:
        attempts += 1
        began = time.monotonic()
        snapshot = opened.ledger.snapshot([queue])
        table = opened.backend.inspector.truth([queue])[queue]
        kept = ledger_accounts(
            snapshot,
            queue,
            flush_seconds=config.flush_seconds,
            took_seconds=time.monotonic() - began,
            threads=config.queue(queue).threads_per_worker,
        )
        table = replace(table, accounts=kept.accounts, approximate=table.approximate | {"accounts"})
        verdict = Verdict(table, None, table.imbalance, kept.behind + killed * kept.per_death, kept.per_death)
        if not verdict.holds and verdict.difference is not None and verdict.difference < 0:
            strangers = opened.backend.inspector.strangers(queue)
            verdict = replace(verdict, strangers=strangers, difference=verdict.difference + strangers)
        if verdict.holds or attempts >= ATTEMPTS:
            return verdict
        pause(config.flush_seconds)


@click.command()
@options.connection_options
@options.queues_option("Only this queue; may be repeated. Default: all queues.")
@click.option(
    "--killed",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Processes that were killed since the queue began. What they had not told the ledger may be "
    "missing; on Redis nothing may.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
def audit(
    *, url: str | None, config_file: Path | None, queues: tuple[str, ...], killed: int, as_json: bool
) -> None:
    """Check the conservation law of every queue:

    admitted = ready + in flight + orphaned + delayed + dead + done + skipped + purged

    On Redis it holds at every instant, under load and after any crash. Jobs that never passed LittleQ (sent
    by a plain Dramatiq process, or before LittleQ was installed) are counted by a scan and left out.

    RabbitMQ, SQS and Kafka keep no such accounts: there the counts are the ledger's, up to flush_seconds old, without
    what a killed process had not flushed, and with the jobs that it ran twice. Then the law holds within the number of
    jobs that this can make.

    Exit code: 0 it holds, 1 it does not, 2 it cannot be checked.
    """
    opened = session(url, config_file)
    by_ledger = opened.backend.capabilities.accounts.value == "ledger"
    if by_ledger:
        options.shared_ledger(opened.config)
    verdicts = [examined(opened, queue, killed=killed) for queue in opened.queues(queues)]
    if as_json:
        echo_json({"holds": _overall(verdicts), "queues": {v.table.queue: _record(v) for v in verdicts}})
    else:
        console = make_console()
        for verdict in verdicts:
            print_verdict(console, verdict)
        click.echo(_summary(verdicts))
        if by_ledger and verdicts:
            click.echo(_about_ledger(opened, verdicts))
    holds = _overall(verdicts)
    if holds is None:
        raise click.ClickException(
            f"The {opened.backend.name} backend keeps no accounts, so there is nothing to check: "
            "look at `littleq monitor --once`."
        )
    click.get_current_context().exit(0 if holds else 1)


def _overall(verdicts: list[Verdict]) -> bool | None:
    """Whether it holds for all that can be checked; None when that is no queue of several."""
    checked = [verdict.holds for verdict in verdicts if verdict.holds is not None]
    return None if verdicts and not checked else all(checked)


def _record(verdict: Verdict) -> dict[str, Any]:
    table = verdict.table
    return {
        "holds": verdict.holds,
        "difference": verdict.difference,
        "strangers": verdict.strangers,
        **(
            {}
            if verdict.tolerance is None
            else {"tolerance": verdict.tolerance, "per_death": verdict.per_death}
        ),
        "accounts": asdict(table.accounts) if table.accounts else None,
        "approximate": sorted(table.approximate),
        **{state: getattr(table, state) for state in STATES},
    }


def print_verdict(console: Console, verdict: Verdict) -> None:
    """The law of one queue as an equation: what went in, and where it is."""
    from rich.text import Text

    table, accounts = verdict.table, verdict.table.accounts
    console.print(Text(table.queue, style="bold"))
    if accounts is None:
        console.print("  no accounts are kept by this broker\n")
        return
    ends = {end: getattr(accounts, end) for end in ENDS}
    states = {state: getattr(table, state) for state in STATES}
    terms = [(name, value) for name, value in {**states, **ends}.items() if value]
    total = sum(value for _, value in terms) - (verdict.strangers or 0)
    if not terms and not accounts.admitted:
        console.print("  nothing was admitted yet\n")
        return
    approximate = {*table.approximate, *(("admitted", *ENDS) if verdict.tolerance is not None else ())}
    _line(console, "", accounts.admitted, "admitted", "~" if "admitted" in approximate else "")
    for place, (name, value) in enumerate(terms):
        _line(console, "+" if place else "=", value, name, "~" if name in approximate else "")
    if verdict.strangers:
        _line(console, "-", verdict.strangers, "strangers, which never passed LittleQ")
    console.print(_mark(verdict, total))
    console.print()


def _line(console: Console, sign: str, value: int, name: str, about: str = "") -> None:
    console.print(f"  {sign:1} {about + format(value, ','):>12}  {name.replace('_', ' ')}")


def _mark(verdict: Verdict, total: int) -> Text:
    from rich.text import Text

    difference, tolerance = verdict.difference or 0, verdict.tolerance
    words = f"{total:,} accounted for, {abs(difference):,} {'missing' if difference > 0 else 'too many'}"
    if verdict.holds and tolerance is not None:
        found = "" if difference == 0 else f": {words}"
        return Text(f"    holds within {counted(tolerance, 'job')}{found}", style="green")
    if difference == 0:
        return Text("    holds", style="green")
    beyond = "" if tolerance is None else f", of {tolerance:,} that the ledger may be off"
    return Text(f"    DOES NOT HOLD: {words}{beyond}", style="bold red")


def _about_ledger(opened: Session, verdicts: list[Verdict]) -> str:
    """What kind of accounts these are."""
    most = max(verdict.per_death for verdict in verdicts)
    return (
        f"The {opened.backend.name} broker keeps no accounts: these are the ledger's, up to flush_seconds "
        f"({opened.config.flush_seconds:g} s) old. A killed process takes along what it had not flushed, and what it "
        f"held is done twice: up to {counted(most, 'job')} each, which --killed N allows for."
    )


def _summary(verdicts: list[Verdict]) -> str:
    if not verdicts:
        return "No queue yet: nothing was admitted."
    broken = [verdict.table.queue for verdict in verdicts if verdict.holds is False]
    unchecked = sum(1 for verdict in verdicts if verdict.holds is None)
    if broken:
        return f"The conservation law does not hold in {', '.join(broken)}."
    kept = f"The conservation law holds in {counted(len(verdicts) - unchecked, 'queue')}."
    return kept + (f" {counted(unchecked, 'queue')} cannot be checked." if unchecked else "")
