"""How `monitor` looks: a block a queue, or a row a queue where blocks do not fit. No colour is needed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from littleq.cli.show import bar, counted, number, percent, rate, seconds, sparkline
from littleq.cli.watch import History, Reading, Status, status_of

if TYPE_CHECKING:
    from littleq.backends.base import TruthTable
    from littleq.metrics.observe import QueueReport

#: Lines of a block and of what stands around the blocks, to see whether they fit.
BLOCK_LINES, WIDE_BLOCK_LINES, FRAME_LINES = 10, 8, 3
#: From here on the sparklines stand beside the numbers.
WIDE = 112
MAX_WIDTH = 130

#: Room for a row's label, for its first and second figure, for a bar, and for the numbers beside sparklines.
_LABEL, _FIRST, _SECOND, _BAR, _NUMBERS = 10, 12, 13, 10, 78
_MARKS = {
    "ok": ("●", "green"),
    "idle": ("○", "dim"),
    "shedding": ("▼", "yellow"),
    "at risk": ("▲", "yellow"),
    "breaching": ("✗", "bold red"),
    "no worker": ("✗", "bold red"),
    "unknown": ("?", "magenta"),
}

Piece = str | tuple[str, str]


def frame(
    reading: Reading,
    histories: Mapping[str, History],
    *,
    server: str,
    width: int,
    height: int | None = None,
    note: str = "",
) -> Group:
    """The whole screen; without a height, blocks for all queues."""
    width = min(width, MAX_WIDTH)
    lines = [_header(reading, server, width, note), *_outages(reading), Text()]
    each = WIDE_BLOCK_LINES if width >= WIDE else BLOCK_LINES
    room = None if height is None else height - FRAME_LINES - len(reading.away)
    if not reading.reports:
        lines.append(Text("  No queue yet: start a worker, or name a queue in littleq.toml.", "dim"))
    elif room is None or each * len(reading.reports) <= room + 1:
        for name, report in reading.reports.items():
            lines += [*block(report, histories.get(name, History()), width), Text()]
    else:
        lines += table(list(reading.reports.values()), histories, width)
        hidden = len(lines) - height if height is not None else 0
        if hidden > 0:
            lines = [*lines[: -hidden - 1], Text(f"  … {hidden + 1} more: name some with --queue", "dim")]
    return Group(*lines)


def _header(reading: Reading, server: str, width: int, note: str) -> Text:
    clock = time.strftime("%H:%M:%S", time.localtime(reading.taken_at))
    left = Text.assemble(("LittleQ", "bold"), f"  {server}")
    return _spread(left, Text(f"{note}  {clock}" if note else clock, "dim"), width)


def _outages(reading: Reading) -> list[Text]:
    return [
        Text(
            f"✗ the {name} does not answer, trying again: {why}",
            "bold red",
            no_wrap=True,
            overflow="ellipsis",
        )
        for name, why in reading.away.items()
    ]


def block(report: QueueReport, history: History, width: int) -> list[Text]:
    """One queue in full."""
    status = status_of(report)
    title = Text.assemble((report.queue, "bold"), (f"  {_promise(report)}", "dim"))
    lines = [_spread(title, _status(status), width)]
    rows = [
        _row("depth", *_depth(report)),
        _row("flow", *_flow(report)),
        _row("law", *_law(report)),
        _row("servers", *_servers(report)),
        _row("wait", *_wait(report)),
        _row("breaches", *_breaches(report)),
    ]
    if width >= WIDE:
        depth, arrivals = _sparks(history, width - _NUMBERS - 4)
        charts = [depth, arrivals]
        for place, row in enumerate(rows):
            chart = (_dim("L λ"[2 * place]), " ", charts[place]) if place < len(charts) else ("",)
            lines.append(Text.assemble(_fit(row, _NUMBERS), "  ", *chart))
        return lines
    depth, arrivals = _sparks(history, width - _LABEL - 2)
    return [*lines, *rows, _row("  L", depth), _row("  λ", arrivals)]


def _promise(report: QueueReport) -> str:
    verb = "start" if report.sla_on == "wait" else "are done"
    return f"{number(report.percentile)} % {verb} within {seconds(report.sla_seconds)}"


def _status(status: Status) -> Text:
    mark, style = _MARKS[status.word]
    return Text.assemble((f"{mark} {status.word}", style), (f": {status.why}" if status.why else "", "dim"))


def _depth(report: QueueReport) -> list[Piece]:
    depth, limit = number(report.number_in_system), report.queue_limit
    if not limit:
        return [f"{depth:<{_FIRST}}", *_states(report.truth)]
    share = (report.number_in_system or 0) / limit
    of = f"of {number(limit)}"
    return [
        depth, _dim(f" {of:<{_FIRST - 1 - len(depth)}}"),
        (bar(share, _BAR), _heat(share)), " " * (_SECOND - _BAR), *_states(report.truth),
    ]  # fmt: skip


def _states(truth: TruthTable | None) -> list[Piece]:
    if truth is None:
        return []
    states = {
        "ready": truth.ready,
        "in flight": truth.in_flight,
        "delayed": truth.delayed,
        "orphaned": truth.orphaned,
    }
    shown = [(name, value) for name, value in states.items() if value or name in ("ready", "in flight")]
    return [piece for name, value in shown for piece in (number(value), _dim(f" {name}  "))]


def _flow(report: QueueReport) -> list[Piece]:
    pieces = [
        *_figure("λ", rate(report.arrival_rate), _FIRST),
        *_figure("done", rate(report.completion_rate), _SECOND),
    ]
    for name, value in (("shed", report.shed_rate), ("retried", report.retry_rate)):
        if value:
            pieces += [_dim(f"{name} "), rate(value), "   "]
    return pieces


def _law(report: QueueReport) -> list[Piece]:
    pieces = [
        *_figure("L", number(report.number_in_system), _FIRST),
        *_figure("λW", number(_rounded(report.number_in_system_expected)), _SECOND),
        *_figure("W", seconds(report.sojourn_time)),
    ]
    if report.sojourn_time is not None:
        pieces += [_dim(" = Wq "), seconds(report.waiting_time), _dim(" + S "), seconds(report.service_time)]
    return pieces


def _servers(report: QueueReport) -> list[Piece]:
    pieces = [
        *_figure("c", number(report.servers), _FIRST),
        *_figure("ρ", percent(report.utilization), _SECOND),
    ]
    if report.utilization is not None:
        pieces += [(bar(report.utilization, _BAR), _heat(report.utilization)), "   "]
    if report.workers is not None:
        pieces.append(_dim(f"in {counted(report.workers, 'worker process', 'worker processes')}"))
    return pieces


def _wait(report: QueueReport) -> list[Piece]:
    late = report.wait_p99 is not None and report.sla_on == "wait" and report.wait_p99 > report.sla_seconds
    pieces = [
        *_figure("p50", seconds(report.wait_p50), _FIRST),
        *_figure("p99", seconds(report.wait_p99), _SECOND, "bold red" if late else ""),
    ]
    if report.predicted_wait is not None:
        pieces += [*_figure("next job", seconds(report.predicted_wait)), "   "]
    if report.headroom is not None:
        short = report.headroom < 0
        pieces += _figure(
            "short by" if short else "headroom", seconds(abs(report.headroom)), 0, "bold red" if short else ""
        )
    return pieces


def _breaches(report: QueueReport) -> list[Piece]:
    pieces: list[Piece] = [f"{number(report.breaches):<{_FIRST}}"]
    if report.breach_ratio is not None:
        may = 1 - report.percentile / 100
        style = "bold red" if report.breach_ratio > may else ""
        pieces += [(percent(report.breach_ratio), style), _dim(f" of the last minute, {percent(may)} may   ")]
    if report.truth is not None and report.truth.dead:
        pieces += _figure("dead letters", number(report.truth.dead))
    return pieces


def _sparks(history: History, room: int) -> tuple[Text, Text]:
    """Depth and λ, each with its highest value behind it."""
    width = room - 12
    charts = []
    for values, tell in ((history.depth, number), (history.arrival_rate, rate)):
        shown = list(values)[-width:]
        highest = max((value for value in shown if value is not None), default=None)
        top = "" if highest is None else f" max {tell(_rounded(highest))}"
        charts.append(Text.assemble((sparkline(shown, width), "cyan"), _dim(top)))
    return charts[0], charts[1]


def table(reports: Sequence[QueueReport], histories: Mapping[str, History], width: int) -> list[Text]:
    """One row a queue."""
    name_width = min(24, max(8, *(len(report.queue) for report in reports)))
    room = max(0, width - name_width - 69)
    heads = ("depth", "limit", "λ", "W", "ρ", "p99", "SLA")
    head = f"  {'queue':<{name_width}}" + "".join(f"{name:>8}" for name in heads)
    lines = [Text(head, "dim")]
    for report in reports:
        cells = (
            number(report.number_in_system), number(report.queue_limit), rate(report.arrival_rate),
            seconds(report.sojourn_time), percent(report.utilization), seconds(report.wait_p99),
            seconds(report.sla_seconds),
        )  # fmt: skip
        line = Text.assemble("  ", (_cut(report.queue, name_width), "bold"))
        line.append("".join(f"{cell:>8}" for cell in cells))
        line.append("  ")
        line.append(_status(Status(status_of(report).word)))
        depth = histories.get(report.queue, History()).depth
        if room > 6:
            line.append("  " + " " * (9 - len(status_of(report).word)))
            line.append(sparkline(list(depth), min(40, room - 4)), "cyan")
        lines.append(line)
    return lines


def plain_line(report: QueueReport, taken_at: float) -> str:
    """One queue on one line, for logs."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(taken_at))
    values = {
        "status": status_of(report).word.replace(" ", "-"),
        "depth": number(report.number_in_system),
        "limit": number(report.queue_limit),
        "λ": rate(report.arrival_rate),
        "W": seconds(report.sojourn_time),
        "λW": number(_rounded(report.number_in_system_expected)),
        "ρ": percent(report.utilization),
        "c": number(report.servers),
        "p99": seconds(report.wait_p99),
        "sla": seconds(report.sla_seconds),
        "breaches": number(report.breaches),
    }
    words = (f"{name}={value.replace(' ', '')}" for name, value in values.items())
    return f"{stamp} {report.queue} {' '.join(words)}"


def _row(label: str, *pieces: Piece | Text) -> Text:
    return Text.assemble((f"  {label:<{_LABEL}}", "dim"), *pieces, no_wrap=True, overflow="ellipsis")


def _spread(left: Text, right: Text, width: int) -> Text:
    return Text.assemble(left, " " * max(2, width - left.cell_len - right.cell_len), right, no_wrap=True)


def _fit(text: Text, width: int) -> Text:
    text.truncate(width, overflow="ellipsis", pad=True)
    return text


def _cut(text: str, width: int) -> str:
    return (text if len(text) <= width else text[: width - 1] + "…").ljust(width)


def _dim(text: str) -> tuple[str, str]:
    return text, "dim"


def _figure(name: str, value: str, width: int = 0, style: str = "") -> list[Piece]:
    """A named number, padded to `width` cells."""
    return [_dim(f"{name} "), (value, style), " " * (width - len(name) - 1 - len(value))]


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")


def _heat(share: float) -> str:
    return "red" if share >= 1 else "yellow" if share >= 0.8 else "green"
