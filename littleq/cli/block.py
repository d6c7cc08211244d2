"""One queue of `monitor` in full: a title, six rows of numbers, and two sparklines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from littleq.cli.show import bar, counted, number, percent, rate, seconds, sparkline
from littleq.cli.watch import History, Status, status_of

if TYPE_CHECKING:
    from littleq.backends.base import TruthTable
    from littleq.metrics.observe import QueueReport

#: From here on the sparklines stand beside the numbers.
WIDE = 112
#: Lines of a block, with the empty one after it.
LINES, WIDE_LINES = 10, 8

#: Room for a row's label, for its first and second figure, for a bar, and for the numbers beside sparklines.
_LABEL, _FIRST, _SECOND, _BAR, _NUMBERS = 10, 12, 13, 10, 78
_MARKS = {
    "ok": ("●", "green"),
    "idle": ("○", "dim"),
    "shedding": ("▼", "yellow"),
    "at risk": ("▲", "yellow"),
    "breaching": ("✗", "bold red"),
    "no worker": ("✗", "bold red"),
    "paused": ("‖", "bold yellow"),
    "unknown": ("?", "magenta"),
}

Piece = str | tuple[str, str]


def spread(left: Text, right: Text, width: int) -> Text:
    """One at each end of a line."""
    return Text.assemble(left, " " * max(2, width - left.cell_len - right.cell_len), right, no_wrap=True)


def status_text(status: Status) -> Text:
    """A mark and a word, which say the same as the colour."""
    mark, style = _MARKS[status.word]
    return Text.assemble((f"{mark} {status.word}", style), (f": {status.why}" if status.why else "", "dim"))


def rounded(value: float | None) -> float | None:
    """To three significant digits."""
    return None if value is None else float(f"{value:.3g}")


def block(report: QueueReport, history: History, width: int) -> list[Text]:
    """One queue in full."""
    status = status_of(report)
    title = Text.assemble((report.queue, "bold"), (f"  {_promise(report)}", "dim"))
    lines = [spread(title, status_text(status), width)]
    if report.truth is None and report.servers is None:
        return lines  # nothing is known: rows of dashes would not say more
    rows = [
        _row("depth", *_depth(report)),
        _row("flow", *_flow(report)),
        _row("law", *_law(report, history)),
        _row("servers", *_servers(report)),
        _row("wait", *_wait(report)),
        _row("breaches", *_breaches(report)),
    ]
    if len(history.depth) < 2:
        return [*lines, *rows]  # one point is no line
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
    if report.truth is not None and report.truth.next_due is not None:
        pieces += _figure("next due", seconds(report.truth.next_due))
    return pieces


def _law(report: QueueReport, history: History) -> list[Piece]:
    mean = history.mean_depth()
    depth = report.number_in_system if mean is None else rounded(mean)
    pieces = [
        *_figure("L", number(depth), _FIRST),
        *_figure("λW", number(rounded(report.number_in_system_expected)), _SECOND),
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
        top = "" if highest is None else f" max {tell(rounded(highest))}"
        charts.append(Text.assemble((sparkline(shown, width), "cyan"), _dim(top)))
    return charts[0], charts[1]


def _row(label: str, *pieces: Piece | Text) -> Text:
    row = Text.assemble((f"  {label:<{_LABEL}}", "dim"), *pieces, no_wrap=True, overflow="ellipsis")
    row.rstrip()
    return row


def _fit(text: Text, width: int) -> Text:
    text.truncate(width, overflow="ellipsis", pad=True)
    return text


def _dim(text: str) -> tuple[str, str]:
    return text, "dim"


def _figure(name: str, value: str, width: int = 0, style: str = "") -> list[Piece]:
    """A named number, padded to `width` cells."""
    return [_dim(f"{name} "), (value, style), " " * (width - len(name) - 1 - len(value))]


def _heat(share: float) -> str:
    return "red" if share >= 1 else "yellow" if share >= 0.8 else "green"
