"""How `monitor` looks: a block a queue, or a row a queue where blocks do not fit. No colour is needed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from littleq.cli.block import LINES, WIDE, WIDE_LINES, block, rounded, spread, status_text
from littleq.cli.show import number, percent, rate, seconds, sparkline
from littleq.cli.watch import History, Reading, Status, status_of

if TYPE_CHECKING:
    from littleq.metrics.observe import QueueReport

#: Wider lines are hard to read.
MAX_WIDTH = 130


def frame(
    reading: Reading,
    histories: Mapping[str, History],
    *,
    server: str,
    width: int,
    height: int | None = None,
    note: str = "",
) -> Group:
    """The whole screen; without a height, blocks for all queues. A live screen has a note in its header."""
    width = min(width, MAX_WIDTH)
    lines = [_header(reading, server, width, note), *_outage(reading, is_live=bool(note)), Text()]
    each = WIDE_LINES if width >= WIDE else LINES
    fits = height is None or len(lines) + each * len(reading.reports) <= height + 1
    if not reading.reports:
        lines.append(Text("  No queue yet: start a worker, or name a queue in littleq.toml.", "dim"))
    elif fits:
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
    return spread(left, Text(f"{note}  {clock}" if note else clock, "dim"), width)


def _outage(reading: Reading, *, is_live: bool) -> list[Text]:
    outage = reading.outage()
    if outage is None:
        return []
    what, why = outage
    trying = ", trying again" if is_live else ""
    return [Text(f"✗ {what}{trying}: {why}", "bold red", no_wrap=True, overflow="ellipsis")]


def table(reports: Sequence[QueueReport], histories: Mapping[str, History], width: int) -> list[Text]:
    """One row a queue."""
    longest = max(len(report.queue) for report in reports)
    name_width = min(24, max(8, longest), max(8, width - 72))
    room = max(0, width - name_width - 69)
    heads = ("depth", "limit", "λ", "W", "ρ", "p99", "SLA")
    head = f"  {'queue':<{name_width}}" + "".join(f"{name:>8}" for name in heads)
    lines = [Text(head, "dim", no_wrap=True, overflow="ellipsis")]
    for report in reports:
        cells = (
            number(report.number_in_system), number(report.queue_limit), rate(report.arrival_rate),
            seconds(report.sojourn_time), percent(report.utilization), seconds(report.wait_p99),
            seconds(report.sla_seconds),
        )  # fmt: skip
        line = Text.assemble(
            "  ", (_cut(report.queue, name_width), "bold"), no_wrap=True, overflow="ellipsis"
        )
        line.append("".join(f" {cell:>7}" for cell in cells))
        word = status_of(report).word
        line.append("  ").append(status_text(Status(word)))
        if room > 6:
            depth = histories.get(report.queue, History()).depth
            line.append(" " * (11 - len(word)))
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
        "λW": number(rounded(report.number_in_system_expected)),
        "ρ": percent(report.utilization),
        "c": number(report.servers),
        "p99": seconds(report.wait_p99),
        "sla": seconds(report.sla_seconds),
        "breaches": number(report.breaches),
    }
    words = (f"{name}={value.replace(' ', '')}" for name, value in values.items())
    return f"{stamp} {report.queue} {' '.join(words)}"


def _cut(text: str, width: int) -> str:
    return (text if len(text) <= width else text[: width - 1] + "…").ljust(width)
