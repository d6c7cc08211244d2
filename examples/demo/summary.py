"""What a demo came to: where the jobs went, the promises, Little's Law, and whether the books balance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from rich.console import Console
from rich.text import Text

from examples.demo.load import FLOOD_SECONDS, Load
from littleq.cli.audit import ENDS, STATES, Verdict, examined
from littleq.cli.options import Session
from littleq.cli.show import number, percent, rate, seconds
from littleq.cli.tally import ENTERED, span
from littleq.ledger import fields
from littleq.metrics.observe import QueueReport, report

#: Widths of the first column and of the others.
_LABEL, _CELL = 10, 9


@dataclass
class Samples:
    """L of each queue, sampled: the demo's own count, to hold against λW."""

    times: list[float] = field(default_factory=list)
    depths: dict[str, list[int]] = field(default_factory=dict)

    def add(self, now: float, depths: Mapping[str, int]) -> None:
        """Note one look at all queues; `now` in seconds."""
        self.times.append(now)
        for queue, depth in depths.items():
            self.depths.setdefault(queue, []).append(depth)

    @property
    def seconds(self) -> float:
        """From the first look to the last."""
        return self.times[-1] - self.times[0] if self.times else 0.0

    def mean(self, queue: str) -> float | None:
        """L, the mean over time, taken as straight lines between the looks."""
        depths = self.depths.get(queue, [])
        if self.seconds <= 0:
            return None
        steps = zip(self.times, self.times[1:], depths, depths[1:], strict=False)
        return sum((after - before) * (a + b) / 2 for before, after, a, b in steps) / self.seconds


@dataclass(frozen=True)
class QueueResult:
    """What one queue did. The report is over the whole turn, not over the last minute.

    Attributes:
        totals: the ledger's counters of this turn.
        all_totals: the same since the beginning.
    """

    outcomes: Counter[str]
    totals: Mapping[str, float]
    all_totals: Mapping[str, float]
    report: QueueReport
    sampled: float | None
    verdict: Verdict

    @property
    def is_kept(self) -> bool | None:
        """Whether the promise was kept; None if no job was timed."""
        reached = self.report.at_percentile
        return None if reached is None else reached <= self.report.sla_seconds

    def total(self, name: str) -> int:
        """A counter of the ledger."""
        return round(fields.total(self.totals, name))


@dataclass(frozen=True)
class Summary:
    """The results by queue, and what was sent."""

    load: Load
    queues: Mapping[str, QueueResult]

    @property
    def failed_sends(self) -> int:
        """Sends that got no answer."""
        return sum(result.outcomes["failed"] for result in self.queues.values())

    @property
    def holds(self) -> bool:
        """Whether every admitted job is accounted for."""
        return all(result.verdict.holds for result in self.queues.values())

    @property
    def is_fine(self) -> bool:
        """Whether nothing was lost, and every send got its answer."""
        return self.holds and not self.failed_sends


def summarize(
    load: Load,
    samples: Samples,
    opened: Session,
    before: Mapping[str, Mapping[str, float]],
) -> Summary:
    """Read the end of it. To be called when nobody counts any more.

    What the ledger's totals have grown by is what was counted in this turn: read as the "recent" window of as many
    seconds as it took, that makes the same report as the monitor's, for the whole of it.

    Args:
        before: the totals when the turn began, by queue.
    """
    snapshot = opened.ledger.snapshot()
    queues = {}
    for queue, outcomes in load.outcomes().items():
        known = snapshot.queue(queue)
        then = before.get(queue, {})
        grown = {name: total - then.get(name, 0.0) for name, total in known.totals.items()}
        whole = replace(known, totals=grown, recent=grown, recent_seconds=samples.seconds)
        verdict = examined(opened, queue)
        view = replace(snapshot, queues={queue: whole})
        queues[queue] = QueueResult(
            outcomes=outcomes,
            totals=grown,
            all_totals=known.totals,
            report=report(queue, view, verdict.table, opened.config),
            sampled=samples.mean(queue),
            verdict=verdict,
        )
    return Summary(load, queues)


def show(console: Console, summary: Summary) -> None:
    """Print all of it, at most 80 cells wide."""
    for part in (_jobs, _waits, _law, _burst, _audit):
        console.print()
        for line in part(summary):
            console.print(line, soft_wrap=True)


def _line(label: str, *pieces: str | tuple[str, str]) -> Text:
    """A line whose label is a queue."""
    return Text.assemble((f"{label:<{_LABEL}}", "bold"), *pieces)


def _head(label: str, rest: str = "") -> Text:
    return Text(f"{label:<{_LABEL}}{rest}", "dim")


def _cells(*cells: str) -> str:
    return "".join(f"{cell:>{_CELL}}" for cell in cells)


def _jobs(summary: Summary) -> Iterator[Text]:
    yield _head("jobs", _cells("sent", "admitted", "shed", "failed", "done", "retried", "dead"))
    for queue, result in summary.queues.items():
        outcomes = result.outcomes
        counts = (
            outcomes.total(), sum(outcomes[name] for name in ENTERED), outcomes["shed"], outcomes["failed"],
            result.total(fields.DONE), result.total(fields.RETRIED), result.total(fields.DEAD),
        )  # fmt: skip
        yield _line(queue, _cells(*(number(count) for count in counts)))
    if summary.failed_sends:
        yield Text(f"✘ {number(summary.failed_sends)} sends got no answer", "red")


def _waits(summary: Summary) -> Iterator[Text]:
    marks = {True: ("✔ kept", "green"), False: ("✘ missed", "bold red"), None: ("", "")}
    yield _head("waits", f"{_cells('p50', 'p99')}   promised")
    for queue, result in summary.queues.items():
        known = result.report
        promise = f"{number(known.percentile)} % within {seconds(known.sla_seconds)}"
        in_time = percent(None if known.breach_ratio is None else 1 - known.breach_ratio)
        yield _line(
            queue,
            f"{_cells(seconds(known.wait_p50), seconds(known.wait_p99))}   {promise:<18}{in_time:>7} were  ",
            marks[result.is_kept],
        )
    for queue, result in summary.queues.items():
        if result.is_kept is False:
            yield from _excuse(queue, result.report)


def _excuse(queue: str, known: QueueReport) -> Iterator[Text]:
    limit = number(known.queue_limit)
    needed = rate((known.queue_limit or 0) / known.sla_seconds)
    yield Text(f"{queue} missed its promise. A limit of {limit} jobs keeps it where the workers", "yellow")
    yield Text(f"do {needed}; most likely this machine is too busy with other things for that.", "yellow")


def _law(summary: Summary) -> Iterator[Text]:
    yield _head("law", _cells("L", "λW", "= λ", "× W", "off by") + "  L counted, not derived")
    for queue, result in summary.queues.items():
        known, expected, counted = result.report, result.report.number_in_system_expected, result.sampled
        off = abs(counted - expected) / expected if expected and counted is not None else None
        cells = (_places(counted), _places(expected), rate(known.entry_rate), seconds(known.sojourn_time))
        yield _line(queue, _cells(*cells, percent(off)))


def _places(value: float | None) -> str:
    """With two decimal places: the two sides of an equation must look alike."""
    return number(None) if value is None else f"{value:.2f}"


def _burst(summary: Summary) -> Iterator[Text]:
    tally = summary.load.flood.tally
    if not tally.sent:
        yield _head("flood", "it did not come to that")
        return
    low, high = tally.retry_after
    shed = tally.outcomes["shed"]
    limit = number(summary.queues[tally.queue].report.queue_limit)
    yield Text.assemble(
        _head("flood"),
        f"{number(tally.sent)} sends in {seconds(FLOOD_SECONDS)} met the limit of {limit} jobs: "
        f"{number(tally.sent - shed)} came in,",
    )
    refusal = f" with Overloaded, retry_after={span(low, high)}" if shed else ""
    yield Text(f"{'':<{_LABEL}}{number(shed)} were refused at once{refusal}")


def _audit(summary: Summary) -> Iterator[Text]:
    label = "audit"
    for queue, result in summary.queues.items():
        yield Text.assemble(_head(label), (f"{queue:<{_LABEL}}", "bold"), *_equation(result.verdict))
        label = ""


def _equation(verdict: Verdict) -> tuple[str | tuple[str, str], ...]:
    table, accounts = verdict.table, verdict.table.accounts
    if accounts is None:
        return (("no accounts are kept", "bold red"),)
    places = {name: getattr(accounts, name) for name in ENDS} | {
        name: getattr(table, name) for name in STATES
    }
    terms = [f"{number(count)} {name.replace('_', ' ')}" for name, count in places.items() if count]
    equation = f"{number(accounts.admitted)} admitted = {' + '.join(terms) or '0'}  "
    if verdict.holds:
        within = f", within {number(verdict.tolerance)}" if verdict.difference else ""
        return equation, (f"✔ holds{within}", "green")
    difference = verdict.difference or 0
    words = "missing" if difference > 0 else "too many"
    return equation, (f"✘ does not hold: {number(abs(difference))} {words}", "bold red")
