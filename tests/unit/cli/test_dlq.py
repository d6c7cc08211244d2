"""`littleq dlq` on fake letters."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from littleq.backends.letters import DeadLetter
from littleq.dead_letters import fingerprint

Littleq = Callable[..., Any]
Make = Callable[..., DeadLetter]


def test_list_is_oldest_first_and_counts(littleq: Littleq, two_accidents: tuple[DeadLetter, ...]) -> None:
    answer = littleq("dlq", "list")
    lines = answer.out.splitlines()
    assert "letter-3" in lines[0]
    assert lines[0].endswith("  poison")
    assert lines[1].startswith("letter-0  mail/send  ")
    assert lines[1].endswith(" ago  exhausted: ZeroDivisionError: division by zero")
    assert lines[-1] == "4 dead letters."


def test_list_json_is_one_object_a_line_and_counts_on_stderr(
    littleq: Littleq, two_accidents: tuple[DeadLetter, ...]
) -> None:
    answer = littleq("dlq", "list", "--queue", "mail", "--limit", "2", "--json")
    records = [json.loads(line) for line in answer.out.splitlines()]
    assert [record["letter_id"] for record in records] == ["letter-0", "letter-1"]
    assert records[0]["args"] == [0]
    assert records[0]["death"]["attempts"] == 4
    assert records[0]["fingerprint"] == fingerprint(two_accidents[0]).key
    assert answer.err == "2 dead letters (--limit 2).\n"


def test_groups_are_ranked_and_lead_to_their_letters(
    littleq: Littleq, two_accidents: tuple[DeadLetter, ...]
) -> None:
    answer = littleq("dlq", "list", "--group", "--json")
    most, least = (json.loads(line) for line in answer.out.splitlines())
    assert (most["letters"], most["queue"], most["place"]) == (3, "mail", "shop/mail.py:12 in send")
    assert (least["letters"], least["reason"]) == (1, "poison")
    assert answer.err == "4 dead letters in 2 groups.\n"

    text = littleq("dlq", "list", "--group").out
    assert "3 × mail/send  exhausted  ZeroDivisionError" in text
    assert f"fingerprint {most['fingerprint']}" in text

    found = littleq("dlq", "list", "--fingerprint", most["fingerprint"], "--json")
    assert len(found.out.splitlines()) == 3


def test_list_filters_by_actor(littleq: Littleq, two_accidents: tuple[DeadLetter, ...]) -> None:
    assert "1 dead letter." in littleq("dlq", "list", "--actor", "fetch").out
    assert littleq("dlq", "list", "--actor", "nobody").out == "0 dead letters.\n"


def test_an_unknown_queue_is_refused(littleq: Littleq, two_accidents: tuple[DeadLetter, ...]) -> None:
    answer = littleq("dlq", "list", "--queue", "mial")
    assert answer.code == 2
    assert "No queue is called 'mial'; known queues: batch, mail." in answer.err


def test_show_tells_all(littleq: Littleq, two_accidents: tuple[DeadLetter, ...]) -> None:
    text = littleq("dlq", "show", "letter-1").out
    for part in (
        "letter-1",
        "message-1",
        "after 4 attempts",
        "[1]",
        "'retries': 3",
        "Traceback (most recent call last)",
    ):
        assert part in text
    assert "ready_at" not in text  # LittleQ's own record
    assert json.loads(littleq("dlq", "show", "letter-1", "--json").out)["queue"] == "mail"


def test_show_of_a_letter_that_is_not_there_exits_with_1(littleq: Littleq, backend: Any) -> None:
    answer = littleq("dlq", "show", "nothing")
    assert (answer.code, answer.out) == (1, "")
    assert "not (or no longer) in any queue: nothing." in answer.err


@pytest.mark.parametrize("command", ["replay", "purge"])
@pytest.mark.parametrize("what", [(), ("letter-1", "--all")])
def test_ids_or_all_but_not_both(littleq: Littleq, backend: Any, command: str, what: tuple[str, ...]) -> None:
    answer = littleq("dlq", command, *what)
    assert answer.code == 2
    assert "Give the ids of letters, or --all" in answer.err


def test_purge_deletes_what_was_named(
    littleq: Littleq, backend: Any, two_accidents: tuple[DeadLetter, ...]
) -> None:
    assert littleq("dlq", "purge", "letter-0", "letter-3", "--yes").out == "2 dead letters purged.\n"
    assert [letter.letter_id for letter in backend.dead_letters.dead] == ["letter-1", "letter-2"]


def test_purge_asks_and_takes_no_for_an_answer(
    littleq: Littleq, backend: Any, two_accidents: tuple[DeadLetter, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def confirm(question: str, **_: Any) -> bool:
        asked.append(question)
        return len(asked) > 1

    monkeypatch.setattr("littleq.cli.dlq.click.confirm", confirm)
    assert littleq("dlq", "purge", "--all", "-q", "mail").out == "0 dead letters purged.\n"
    assert asked == ["Delete 3 dead letters of mail for good?"]
    assert littleq("dlq", "purge", "--all", "-q", "mail").out == "3 dead letters purged.\n"


def test_purge_goes_in_chunks(
    littleq: Littleq, backend: Any, make_letter: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("littleq.cli.dlq.PURGE_CHUNK", 3)
    backend.bury(*(make_letter(number) for number in range(8)))
    assert littleq("dlq", "purge", "--all", "--yes").out == "8 dead letters purged.\n"
    assert backend.dead_letters.dead == []


def test_purge_where_nobody_can_answer_says_what_to_do(
    littleq: Littleq, backend: Any, two_accidents: tuple[DeadLetter, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    answer = littleq("dlq", "purge", "--all")
    assert answer.code == 2
    assert "add --yes" in answer.err
    assert len(backend.dead_letters.dead) == 4


def test_a_narrow_terminal_shows_the_whole_id(make_letter: Make) -> None:
    from rich.console import Console

    from littleq.cli.letters import print_letter

    letter = make_letter(1, letter_id="f798dfed-220d-410c-8e34-ba8418b6b47b", actor="a_rather_long_name")
    for width, lines in ((60, 2), (80, 2), (120, 1), (200, 1)):
        console = Console(width=width, force_terminal=True, color_system=None)
        with console.capture() as capture:
            print_letter(console, letter, letter.died_at + 90)
        shown = capture.get().splitlines()
        assert len(shown) == lines
        assert shown[0].startswith(letter.letter_id)
        assert "exhausted: ZeroDivisionError" in shown[-1]
        assert all(len(line) <= width for line in shown)


def test_two_letters_of_one_job_are_both_listed_and_purged_but_replayed_once(
    littleq: Littleq, backend: Any, make_letter: Make
) -> None:
    backend.bury(make_letter(1), make_letter(2, message_id="message-1"))
    assert littleq("dlq", "list").out.endswith("2 dead letters.\n")
    assert littleq("dlq", "replay", "--all", "--dry-run").out.endswith("1 dead letter would be replayed.\n")
    assert littleq("dlq", "purge", "--all", "--yes").out == "2 dead letters purged.\n"


def test_purge_deletes_only_what_passes_the_filters(
    littleq: Littleq, backend: Any, make_letter: Make
) -> None:
    backend.bury(make_letter(0), make_letter(1, actor="fetch"), make_letter(2))
    assert littleq("dlq", "purge", "--all", "--actor", "fetch", "--yes").out == "1 dead letter purged.\n"
    assert [letter.letter_id for letter in backend.dead_letters.dead] == ["letter-0", "letter-2"]


def test_a_letter_that_dies_while_others_are_purged_stays(
    littleq: Littleq, backend: Any, make_letter: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody was asked about it."""
    backend.bury(make_letter(0), make_letter(1))
    store, late = backend.dead_letters, make_letter(2)

    def confirm(question: str, **_: Any) -> bool:
        store.dead.append(late)
        return True

    monkeypatch.setattr("littleq.cli.dlq.click.confirm", confirm)
    assert littleq("dlq", "purge", "--all").out == "2 dead letters purged.\n"
    assert store.dead == [late]
