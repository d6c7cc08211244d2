"""Which letters `--since` and `--until` mean."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import click
import pytest

from littleq.cli.selection import MOMENT, once

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("30m", 1800),
        ("30min", 1800),
        ("2h", 7200),
        ("7d", 604800),
        ("1.5 h", 5400),
        ("2w", 1209600),
        (" 5s ", 5),
        ("0s", 0),
    ],
)
def test_a_duration_is_so_long_ago(text: str, ago: float) -> None:
    assert MOMENT.convert(text, None, None).at(NOW) == pytest.approx(NOW - ago)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-24T08:00:00+00:00", 1795507200.0),
        ("2026-11-24T08:00Z", 1795507200.0),
        ("2026-11-24 10:00+02:00", 1795507200.0),
    ],
)
def test_a_time_with_a_zone_is_that_time(text: str, at: float) -> None:
    assert MOMENT.convert(text, None, None).at(NOW) == at


def test_a_time_without_a_zone_is_local() -> None:
    local = datetime.datetime(2026, 11, 24, 8).timestamp()
    assert MOMENT.convert("2026-11-24T08:00", None, None).at(NOW) == local
    assert MOMENT.convert("2026-11-24", None, None).at(NOW) == datetime.datetime(2026, 11, 24).timestamp()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2",
        "-2h",
        "2y",
        "yesterday",
        "2026-13-01",
        "h",
        "inf d",
        "0001-01-01",
        "9" * 400 + "h",
    ],
)
def test_what_is_no_time_is_refused_with_the_value_and_examples(text: str) -> None:
    with pytest.raises(click.BadParameter) as refusal:
        MOMENT.convert(text, None, None)
    assert repr(text) in refusal.value.message
    assert "30m, 2h or 7d" in refusal.value.message


def test_list_shows_what_died_between(
    littleq: Callable[..., Any], backend: Any, make_letter: Callable[..., Any]
) -> None:
    """The clock that dates the letters counts, not this machine's."""
    now = backend.dead_letters.clock = NOW
    backend.bury(*(make_letter(number, died_at=now - 3600 * number) for number in range(5)))
    answer = littleq("dlq", "list", "--since", "3h", "--until", "1h")
    assert [line.split()[0] for line in answer.out.splitlines()[:-1]] == ["letter-3", "letter-2"]
    assert "  3 h ago  " in answer.out
    groups = littleq("dlq", "list", "--since", "3h", "--until", "1h", "--group")
    assert groups.out.endswith("2 dead letters in 1 group.\n")
    assert littleq("dlq", "purge", "--all", "--until", "2h", "--yes").out == "2 dead letters purged.\n"
    assert littleq("dlq", "replay", "--all", "--since", "1h", "--dry-run").out.endswith(
        "2 dead letters would be replayed.\n"
    )


def test_each_job_comes_once(make_letter: Callable[..., Any]) -> None:
    letters = [make_letter(1), make_letter(2, message_id="message-1"), make_letter(3)]
    assert [letter.letter_id for letter in once(iter(letters))] == ["letter-1", "letter-3"]
