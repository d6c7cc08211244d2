"""The producer's summary."""

from __future__ import annotations

from collections import Counter

import dramatiq
import pytest
from rich.console import Console

from littleq.cli.tally import Tally, outcome_of, span


def printed(tally: Tally) -> str:
    console = Console(width=200, record=True, force_terminal=False)
    with console.capture() as capture:
        tally.print(console)
    return capture.get()


def message(queue: str = "mail", **options: object) -> dramatiq.Message[object]:
    return dramatiq.Message(queue_name=queue, actor_name="send", args=(), kwargs={}, options=dict(options))


@pytest.mark.parametrize(
    ("sent", "outcome"),
    [
        (message(), "admitted"),
        (message("mail.DQ"), "deferred"),
        (message("bulk"), "diverted"),
        (message("bulk.DQ"), "diverted"),
        (message(littleq={"outcome": "deferred"}), "deferred"),
        (message(littleq={"outcome": "bypassed"}), "bypassed"),
        (message(littleq={"outcome": "something new"}), "admitted"),
    ],
)
def test_the_outcome_is_what_littleq_noted_else_where_the_message_went(
    sent: dramatiq.Message[object], outcome: str
) -> None:
    assert outcome_of(sent, "mail") == outcome


def test_the_outcomes_are_complete_and_exclusive() -> None:
    tally = Tally("mail", asked_rate=20.0)
    tally.entered("admitted", "mail")
    tally.entered("diverted", "bulk")
    tally.entered("deferred", "mail.DQ")
    tally.shed(0.4)
    tally.shed(1.2)
    tally.failed("ConnectionError", "nobody listens")
    tally.failed("ConnectionError", "still nobody")
    record = tally.record()
    assert record["sent"] == tally.sent == 7
    assert (
        sum(record[name] for name in ("admitted", "deferred", "diverted", "bypassed", "shed", "failed")) == 7
    )
    assert record["failures"] == {"ConnectionError": 2}
    assert record["diverted_to"] == ["bulk"]
    assert (record["retry_after_min"], record["retry_after_max"]) == (0.4, 1.2)


def test_the_summary_says_it_in_words() -> None:
    tally = Tally("mail", asked_rate=20.0, elapsed=4.95, gap=0.05)
    for _ in range(88):
        tally.entered("admitted", "mail")
        tally.late(0.002)
    for wait in (0.4, 1.2, *[0.5] * 9):
        tally.shed(wait)
    tally.failed("ConnectionError", "nobody listens")
    text = printed(tally)
    assert "mail  100 sent in 4.95 s, 20/s of 20/s asked" in text
    assert "admitted        88      88 %" in text
    assert "shed            11      11 %" in text
    assert "retry after 400 ms to 1.2 s" in text
    assert "1 × ConnectionError: nobody listens" in text
    assert "max" in text
    assert "deferred" not in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_a_summary_of_nothing_can_be_printed() -> None:
    text = printed(Tally("mail"))
    assert "0 sent in 0 s" in text
    assert Tally("mail").record()["achieved_rate"] is None


def test_markup_in_messages_is_text() -> None:
    tally = Tally("mail")
    tally.failed("Error", "[bold]not markup[/bold] [/]")
    assert "[bold]not markup[/bold] [/]" in printed(tally)


def test_the_achieved_rate_counts_the_last_gap_too() -> None:
    """Three sends, one a second, at 0, 1 and 2 s: 1/s, not 1.5/s. Two bursts of five, two seconds apart: 2.5/s."""
    tally = Tally("mail", elapsed=2.0, gap=1.0, outcomes=Counter(admitted=3))
    assert tally.achieved_rate == 1.0
    assert Tally("mail", elapsed=2.0, gap=2.0, outcomes=Counter(admitted=10)).achieved_rate == 2.5
    assert Tally("mail", gap=1.0, outcomes=Counter(admitted=1)).achieved_rate is None


def test_a_span_of_equal_ends_is_one_time() -> None:
    assert span(0.05, 0.05) == "50 ms"
    assert span(0.05, 2) == "50 ms to 2 s"
