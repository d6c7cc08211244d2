"""What became of the producer's sends: counted as they happen, summed up at the end."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from littleq.cli.show import bar, number, percent, rate, seconds

if TYPE_CHECKING:
    from dramatiq import Message
    from rich.console import Console

#: In the order of the summary. `failed`: no answer; the job may have been enqueued all the same.
OUTCOMES = ("admitted", "deferred", "diverted", "bypassed", "shed", "failed")
#: Sends of these outcomes put a job into a queue.
ENTERED = frozenset(("admitted", "deferred", "diverted", "bypassed"))
_STYLES = {"admitted": "green", "shed": "yellow", "failed": "bold red"}
#: Room for an outcome's bar.
_BAR_WIDTH = 20


def outcome_of(message: Message[Any], queue: str) -> str:
    """What became of a send to `queue`, from the message that `enqueue` returned.

    LittleQ notes it in the message; where it did not, the queue that the message went to tells.
    """
    from dramatiq.common import dq_name, q_name

    from littleq.job import read

    noted = read(message.options).get("outcome")
    if noted in OUTCOMES:
        return str(noted)
    if q_name(message.queue_name) != queue:
        return "diverted"
    return "deferred" if message.queue_name == dq_name(queue) else "admitted"


@dataclass
class Tally:
    """The outcomes of a run.

    Attributes:
        failures: failed sends by kind of error; `first_words` has the first message of each kind.
        lag_max, lag_sum: how late sends began after they were due, in seconds.
        elapsed: from the start of the run to the last send, in seconds.
        gap: mean time from one send, or burst of sends, to the next, in seconds; 0 where there is none.
    """

    queue: str
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    first_words: dict[str, str] = field(default_factory=dict)
    retry_after: tuple[float, float] = (math.inf, -math.inf)
    diverted_to: set[str] = field(default_factory=set)
    lag_max: float = 0.0
    lag_sum: float = 0.0
    elapsed: float = 0.0
    asked_rate: float | None = None
    gap: float = 0.0

    @property
    def sent(self) -> int:
        """Sends that were tried, whatever became of them."""
        return sum(self.outcomes.values())

    @property
    def achieved_rate(self) -> float | None:
        """Sends per second, the gap after the last one included."""
        span = self.elapsed + self.gap
        return self.sent / span if self.sent > 1 and span > 0 else None

    def late(self, lag: float) -> None:
        """Note how late a send began."""
        self.lag_max = max(self.lag_max, lag)
        self.lag_sum += lag

    def entered(self, outcome: str, queue: str) -> None:
        """Note a send that put a job into `queue`."""
        self.outcomes[outcome] += 1
        if outcome == "diverted":
            self.diverted_to.add(queue)

    def shed(self, retry_after: float | None) -> None:
        """Note a send that was refused, and when to try again, in seconds."""
        self.outcomes["shed"] += 1
        if retry_after is not None:
            low, high = self.retry_after
            self.retry_after = (min(low, retry_after), max(high, retry_after))

    def failed(self, kind: str, words: str) -> None:
        """Note a send that the broker did not answer, or that could not be made."""
        self.outcomes["failed"] += 1
        self.failures[kind] += 1
        self.first_words.setdefault(kind, words)

    def record(self) -> dict[str, Any]:
        """The summary for scripts: seconds, rates per second."""
        low, high = self.retry_after
        return {
            "queue": self.queue,
            "sent": self.sent,
            **{outcome: self.outcomes[outcome] for outcome in OUTCOMES},
            "failures": dict(self.failures),
            "diverted_to": sorted(self.diverted_to),
            "retry_after_min": low if low <= high else None,
            "retry_after_max": high if low <= high else None,
            "elapsed": self.elapsed,
            "asked_rate": self.asked_rate,
            "achieved_rate": self.achieved_rate,
            "lag_mean": self.lag_sum / self.sent if self.sent else None,
            "lag_max": self.lag_max if self.sent else None,
        }

    def brief(self) -> str:
        """The outcomes so far, in a few words."""
        words = [f"{outcome} {self.outcomes[outcome]:,}" for outcome in OUTCOMES if self.outcomes[outcome]]
        return "  ".join(words)

    def print(self, console: Console) -> None:
        """The summary, one line an outcome."""
        from rich.text import Text

        asked = f" of {rate(self.asked_rate)} asked" if self.asked_rate else ""
        at = f", {rate(self.achieved_rate)}{asked}" if self.achieved_rate else ""
        console.print(
            Text.assemble((self.queue, "bold"), f"  {number(self.sent)} sent in {seconds(self.elapsed)}{at}")
        )
        for outcome in OUTCOMES:
            count = self.outcomes[outcome]
            if not count and outcome in ("deferred", "diverted", "bypassed"):
                continue
            share, style = count / (self.sent or 1), _STYLES.get(outcome, "") if count else "dim"
            line = Text(f"  {outcome:<9}{count:>9,}  {percent(share):>8}  ")
            line.append(bar(share, _BAR_WIDTH), style)
            line.append(f"  {self._remark(outcome)}")
            line.rstrip()
            console.print(line, soft_wrap=True)
        mean = self.lag_sum / self.sent if self.sent else None
        console.print(f"  lag      {seconds(mean):>9} mean, {seconds(self.lag_max)} max")
        for kind, count in self.failures.most_common():
            console.print(Text(f"  {count:,} × {kind}: {self.first_words[kind]}", "red"), soft_wrap=True)

    def _remark(self, outcome: str) -> str:
        low, high = self.retry_after
        if outcome == "shed" and low <= high:
            return f"retry after {span(low, high)}"
        if outcome == "diverted" and self.diverted_to:
            return f"to {', '.join(sorted(self.diverted_to))}"
        if outcome == "failed" and self.failures:
            return "may have been enqueued all the same"
        return ""


def span(low: float, high: float) -> str:
    """A range of durations; one when both ends read the same."""
    first, last = seconds(low), seconds(high)
    return first if first == last else f"{first} to {last}"
