"""The journal: what a second run reads is what the first one knew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from littleq.backends.transfer import Parcel
from littleq.moving import Journal, JournalError

ENDS = {"from": "redis://a", "to": "amqp://b", "queue": "q"}
PARCELS = [Parcel(name, "ready", b"data", note="n") for name in ("a", "b", "c")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def again(journal: Journal) -> Journal:
    """As the next process sees it."""
    journal.close()
    return Journal(journal.path, ENDS)


def test_a_second_run_continues_the_move_and_its_numbers(path: Path) -> None:
    first = Journal(path, ENDS)
    assert not first.is_resumed
    batch = first.begin("mark", PARCELS)
    second = again(first)
    assert second.state == first.state
    assert second.state.open is not None
    assert (second.state.open.batch, second.state.open.stage) == (batch, "begun")
    assert second.is_resumed
    second.given({"a", "b", "c"})
    second.done({"ready": 3})
    assert second.begin("", PARCELS[:1]).number == batch.number + 1
    third = again(second)
    assert third.state == second.state
    third.close()


def test_what_the_target_did_not_confirm_is_not_taken_yet(path: Path) -> None:
    journal = Journal(path, ENDS)
    journal.begin("", PARCELS)
    journal.given({"a"})
    journal.done({"ready": 1})
    total = again(journal).state.totals["ready"]
    assert (total.taken, total.given, total.verified, total.unsure) == (1, 1, 1, 0)


def test_jobs_that_a_crash_may_have_given_are_unsure_when_they_are_given_again(path: Path) -> None:
    journal = Journal(path, ENDS)
    journal.begin("", PARCELS)
    journal.given({"a"}, others_too=True)
    journal.done({"ready": 1})
    journal.begin("", PARCELS[1:])
    journal.given({"b", "c"})
    total = again(journal).state.totals["ready"]
    assert (total.taken, total.given, total.unsure) == (3, 3, 2)


def test_where_all_were_found_none_is_in_doubt(path: Path) -> None:
    journal = Journal(path, ENDS)
    journal.begin("", PARCELS)
    journal.given({"a", "b", "c"}, others_too=True)
    assert again(journal).state.doubtful == set()


def test_what_is_owed_is_known_until_it_is_forgotten(path: Path) -> None:
    journal = Journal(path, ENDS)
    journal.begin("", PARCELS)
    journal.given({"a", "b", "c"})
    journal.owe()
    journal.begin("", [Parcel("d", "dead", b"")])
    second = again(journal)
    assert set(second.state.owed) == {"a", "b", "c"}
    second.forgot(["a"], {"ready": 1})
    third = again(second)
    assert set(third.state.owed) == {"b", "c"}
    assert third.state.totals["ready"].verified == 1
    third.close()


def test_the_sums_begin_anew_when_nothing_was_left(path: Path) -> None:
    journal = Journal(path, ENDS)
    journal.begin("", PARCELS)
    journal.given({"a", "b", "c"})
    journal.done({"ready": 3})
    journal.end()
    second = again(journal)
    assert not second.is_resumed
    assert second.state.number == 1
    second.close()


@pytest.mark.parametrize("cut", [1, 20])
def test_a_line_that_was_cut_off_never_was(path: Path, cut: int) -> None:
    journal = Journal(path, ENDS)
    journal.begin("", PARCELS)
    before = path.read_bytes()
    journal.given({"a", "b"})
    journal.close()
    path.write_bytes(path.read_bytes()[:-cut])
    second = Journal(path, ENDS)
    assert second.state.open is not None
    assert second.state.open.stage == "begun"
    assert path.read_bytes() == before
    second.given({"a", "b", "c"})  # goes behind whole lines
    assert again(second).state.totals["ready"].given == 3


def test_a_journal_of_other_ends_is_refused_in_one_sentence(path: Path) -> None:
    Journal(path, ENDS).close()
    with pytest.raises(JournalError, match=r"to = amqp://b, not kafka://c: name another with --journal\."):
        Journal(path, {**ENDS, "to": "kafka://c"})
    Journal(path, ENDS).close()  # and is left alone


@pytest.mark.parametrize(
    "text", ["hello\n", "[1]\n", '{"move": 1}\n', json.dumps({"littleq": "move", "version": 99}) + "\n"]
)
def test_what_is_no_journal_is_refused_and_left_as_it_is(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(JournalError, match="is no journal"):
        Journal(path, ENDS)
    assert path.read_text() == text


def test_two_processes_do_not_write_one_journal(path: Path) -> None:
    journal = Journal(path, ENDS)
    with pytest.raises(JournalError, match="Another process moves jobs"):
        Journal(path, ENDS)
    journal.close()


def test_a_journal_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="cannot be written"):
        Journal(tmp_path / "nowhere" / "journal", ENDS)
