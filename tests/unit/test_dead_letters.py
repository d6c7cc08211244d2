"""Fingerprints of dead letters."""

from __future__ import annotations

from typing import Any

import pytest

from littleq.backends.letters import DeadLetter
from littleq.dead_letters import Fingerprint, fingerprint, grouped, raised_at

TRACEBACK = """Traceback (most recent call last):
  File "/opt/venv/lib/dramatiq/worker.py", line 560, in process_message
    res = actor(*message.args, **message.kwargs)
  File "{root}/shop/mail.py", line {line}, in send
    1 / 0
ZeroDivisionError: division by zero
"""


def letter(
    number: int = 0, *, root: str = "/srv/app", line: int = 12, at: float = 0.0, **changes: Any
) -> DeadLetter:
    death: dict[str, Any] = {
        "reason": "exhausted",
        "exception": "builtins.ZeroDivisionError",
        "message": f"message {number}",
        "traceback": TRACEBACK.format(root=root, line=line),
        "attempts": number,
        "at": at,
    }
    death |= changes
    return DeadLetter(f"id-{number}", "mail", "send", f"m-{number}", (number,), {}, {}, at, death)  # type: ignore[arg-type]


def test_arguments_messages_attempts_and_installation_do_not_count() -> None:
    assert fingerprint(letter(1)) == fingerprint(letter(2, root="C:\\python\\app"))


@pytest.mark.parametrize(
    "changes",
    [{"line": 13}, {"reason": "refused"}, {"exception": "builtins.ValueError"}],
    ids=lambda c: next(iter(c)),
)
def test_place_reason_and_exception_count(changes: dict[str, Any]) -> None:
    assert fingerprint(letter()) != fingerprint(letter(**changes))
    assert fingerprint(letter()).key != fingerprint(letter(**changes)).key


def test_the_key_is_the_same_in_every_process_and_version() -> None:
    mark = Fingerprint("send", "exhausted", "builtins.ZeroDivisionError", "shop/mail.py:12 in send")
    assert mark.key == "d6866633"
    assert fingerprint(letter()) == mark


def test_fields_do_not_run_into_each_other() -> None:
    assert Fingerprint("a", "b", "c", "").key != Fingerprint("a", "bc", "", "").key


def test_a_letter_without_a_record_has_a_fingerprint_too() -> None:
    bare = DeadLetter("id", "mail", "send", "m", (), {}, {}, 0.0, {})
    assert fingerprint(bare) == Fingerprint("send", "unknown", "", "")


def test_of_a_chain_the_exception_that_got_out_counts() -> None:
    first = TRACEBACK.format(root="/srv", line=1)
    cause = "\nDuring handling of the above exception, another exception occurred:\n\n"
    assert raised_at(first + cause + TRACEBACK.format(root="/srv", line=99)) == "shop/mail.py:99 in send"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('  File "mail.py", line 3, in <module>', "mail.py:3 in <module>"),
        ('  File "<string>", line 1', "<string>:1"),
        ('  File "C:\\app\\shop\\mail.py", line 7, in send', "shop/mail.py:7 in send"),
        ('  File "/mail.py", line 3, in f', "mail.py:3 in f"),
        ("ValueError: no frames", ""),
    ],
)
def test_a_place_is_file_line_and_function(text: str, place: str) -> None:
    assert raised_at(text) == place


def test_groups_are_ranked_and_know_their_times_and_their_last_letter() -> None:
    letters = [letter(n, at=float(n)) for n in (3, 1, 2)] + [letter(9, line=40, at=9.0)]
    most, least = grouped(letters)
    assert (most.letters, most.first_at, most.last_at, most.example.letter_id) == (3, 1.0, 3.0, "id-3")
    assert (least.letters, least.fingerprint.place) == (1, "shop/mail.py:40 in send")


def test_the_same_accident_in_two_queues_makes_two_groups() -> None:
    other = DeadLetter("id", "bulk", "send", "m", (), {}, {}, 0.0, letter().death)
    assert {group.queue for group in grouped([letter(), other])} == {"mail", "bulk"}
