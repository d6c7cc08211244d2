"""`littleq dlq replay` on fake letters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from littleq.backends.base import TruthTable
from littleq.backends.letters import DeadLetter
from littleq.cli.options import Session
from littleq.config import Config, SLAQueueConfig
from littleq.dead_letters import fingerprint
from littleq.ledger.memory import MemoryLedger

Littleq = Callable[..., Any]
Make = Callable[..., DeadLetter]


def test_replay_of_named_letters(
    littleq: Littleq, backend: Any, two_accidents: tuple[DeadLetter, ...]
) -> None:
    answer = littleq("dlq", "replay", "letter-1", "letter-3", "gone", "--rate", "1000/s")
    assert answer.out == "2 dead letters replayed.\n"
    assert answer.code == 1
    assert "gone" in answer.err
    assert backend.dead_letters.replayed == ["letter-1", "letter-3"]


def test_replay_all_passes_the_filters(
    littleq: Littleq, backend: Any, two_accidents: tuple[DeadLetter, ...]
) -> None:
    assert littleq("dlq", "replay", "--all", "--actor", "fetch").out == "1 dead letter replayed.\n"
    assert backend.dead_letters.replayed == ["letter-3"]


def test_a_dry_run_replays_nothing(
    littleq: Littleq, backend: Any, two_accidents: tuple[DeadLetter, ...]
) -> None:
    answer = littleq("dlq", "replay", "--all", "--dry-run")
    assert answer.out.endswith("4 dead letters would be replayed.\n")
    assert "letter-2" in answer.out
    assert backend.dead_letters.replayed == []


def test_a_letter_that_dies_again_at_once_is_not_replayed_for_ever(
    littleq: Littleq, backend: Any, two_accidents: tuple[DeadLetter, ...]
) -> None:
    """It comes back with another id and a later death, at the end of the list that is being read."""
    store, deaths = backend.dead_letters, iter(range(1000))

    def die_again(letter: DeadLetter) -> None:
        number = next(deaths)
        store.dead.append(replace(letter, letter_id=f"again-{number}", died_at=2e9 + number))

    store.on_replay = die_again
    store.counts = False
    answer = littleq("dlq", "replay", "--all", "--queue", "mail", "--rate", "1000/s")
    assert answer.out == "3 dead letters replayed.\n"
    assert store.replayed == ["letter-0", "letter-1", "letter-2"]


def test_a_job_that_dies_for_the_first_time_meanwhile_is_left_alone(
    littleq: Littleq, backend: Any, make_letter: Make, two_accidents: tuple[DeadLetter, ...]
) -> None:
    store = backend.dead_letters
    store.on_replay = lambda _: store.dead.append(make_letter(100 + len(store.dead), died_at=2e9))
    assert (
        littleq("dlq", "replay", "--all", "-q", "mail", "--rate", "1000").out == "3 dead letters replayed.\n"
    )


def test_what_was_replayed_before_the_server_went_away_is_counted(
    littleq: Littleq, backend: Any, two_accidents: tuple[DeadLetter, ...]
) -> None:
    def fail(letter: DeadLetter) -> None:
        if letter.letter_id == "letter-1":
            raise ConnectionError("gone")

    backend.dead_letters.on_replay = fail
    answer = littleq("dlq", "replay", "--all", "-q", "mail", "--rate", "1000")
    assert answer.code == 2
    assert answer.out == "1 dead letter replayed.\n"
    assert "The server cannot be used (gone)" in answer.err


def test_a_replay_is_paced(
    littleq: Littleq, backend: Any, two_accidents: tuple[DeadLetter, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten a second unless told otherwise."""
    rates: list[float] = []

    class Recording:
        def __init__(self, rate: float) -> None:
            rates.append(rate)

        def wait(self, queue: str) -> None:
            rates.append(0.0)

    monkeypatch.setattr("littleq.cli.pace.AtRate", Recording)
    littleq("dlq", "replay", "--all", "-q", "mail", "--rate", "600/min")
    littleq("dlq", "replay", "--all", "-q", "batch")
    littleq("dlq", "replay", "--all", "-q", "mail", "--rate", "4/s")
    assert rates == [10.0, 0.0, 0.0, 0.0, 10.0, 0.0, 4.0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--all", "--within-sla", "--rate", "5/s"), "leave --rate out, or --within-sla."),
        (("--all", "--patience", "5s"), "say how many with --canary."),
        (("--all", "--canary", "0"), "'0' is not a whole number from 1 up."),
        (("--all", "--canary", "1", "--patience", "soon"), "'soon' is not a duration above 0"),
        (("--all", "--within-sla"), "name it in littleq.toml, or give a --rate."),
        (("--all", "--since", "yesterday"), "'yesterday' is no time: give how long ago"),
        (("--all", "--since", "1h", "--until", "2h"), "--since is not before --until"),
    ],
)
def test_bad_input_is_one_sentence_and_replays_nothing(
    littleq: Littleq,
    backend: Any,
    two_accidents: tuple[DeadLetter, ...],
    arguments: tuple[str, ...],
    sentence: str,
) -> None:
    answer = littleq("dlq", "replay", *arguments)
    assert answer.code == 2
    assert sentence in answer.err
    assert "Traceback" not in answer.err
    assert backend.dead_letters.replayed == []


def test_canaries_that_are_done_are_followed_by_the_rest(
    littleq: Littleq, backend: Any, two_accidents: tuple[DeadLetter, ...]
) -> None:
    answer = littleq("dlq", "replay", "--all", "--canary", "2", "--rate", "1000")
    assert (answer.code, answer.out) == (0, "4 dead letters replayed.\n")
    assert answer.err == "littleq: 2 canaries replayed, watched for up to 60 s.\nlittleq: 2 canaries done.\n"
    assert backend.dead_letters.searches == 2


def test_a_canary_that_dies_again_stops_the_replay(
    littleq: Littleq, backend: Any, two_accidents: tuple[DeadLetter, ...]
) -> None:
    store = backend.dead_letters

    def die_again(letter: DeadLetter) -> None:
        if letter.letter_id == "letter-0":
            store.dead.append(replace(letter, letter_id="again", died_at=store.clock))

    store.on_replay = die_again
    answer = littleq("dlq", "replay", "--all", "--canary", "2", "--rate", "1000")
    assert (answer.code, answer.out) == (1, "2 dead letters replayed.\n")
    assert "The canary again is dead again: exhausted: ZeroDivisionError" in answer.err
    assert f"fingerprint {fingerprint(two_accidents[0]).key}." in answer.err
    assert store.replayed == ["letter-3", "letter-0"]


def test_a_canary_that_is_not_done_in_time_stops_the_replay(
    littleq: Littleq, backend: Any, two_accidents: tuple[DeadLetter, ...]
) -> None:
    backend.dead_letters.places = {"letter-3": "delayed"}
    answer = littleq("dlq", "replay", "--all", "--canary", "1", "--patience", "1ms", "--rate", "1000")
    assert (answer.code, answer.out) == (1, "1 dead letter replayed.\n")
    assert "1 of 1 canary is not done after 1 ms (1 delayed)" in answer.err


def test_a_letter_that_is_gone_already_is_no_canary(
    littleq: Littleq, backend: Any, make_letter: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.bury(*(make_letter(number) for number in range(3)))
    store, watched = backend.dead_letters, []
    stock = store.replay
    monkeypatch.setattr(store, "replay", lambda queue, i: i != "letter-0" and stock(queue, i))
    monkeypatch.setattr(
        store,
        "whereabouts",
        lambda queue, letters, thorough=False: watched.extend(each.letter_id for each in letters) or {},
    )
    answer = littleq("dlq", "replay", "--all", "--canary", "1", "--rate", "1000")
    assert answer.out == "2 dead letters replayed; 1 were gone already.\n"
    assert set(watched) == {"letter-1"}


def test_no_letters_need_no_canary(littleq: Littleq, backend: Any) -> None:
    backend.inspector.tables["mail"] = [TruthTable("mail")]
    answer = littleq("dlq", "replay", "--all", "--canary", "3")
    assert (answer.code, answer.out, answer.err) == (0, "0 dead letters replayed.\n", "")


@pytest.fixture
def contract(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Queue mail may hold 8 jobs, of which 4 replayed, and is asked about when it holds 1, 4 and 2 jobs."""
    queue = SLAQueueConfig("mail", arrival_rate=8, sla_seconds=1)
    opened = Session(Config(url="stub://", queues={"mail": queue}), None, backend, MemoryLedger())  # type: ignore[arg-type]
    monkeypatch.setattr("littleq.cli.selection.session", lambda *_: opened)


def test_within_the_sla_as_many_as_there_is_room_for(
    littleq: Littleq, backend: Any, make_letter: Make, contract: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.bury(*(make_letter(number) for number in range(5)))
    backend.inspector.tables["mail"] = [TruthTable("mail", ready=depth) for depth in (1, 4, 2)]
    monkeypatch.setattr("littleq.cli.pace.BLIND_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("littleq.cli.pace.LEAST_PAUSE_SECONDS", 0.0)
    answer = littleq("dlq", "replay", "--all", "--within-sla")
    assert (answer.code, answer.out) == (0, "5 dead letters replayed.\n")
    assert answer.err == (
        "littleq: Waiting for room in 'mail': it holds 4 jobs and can start 8 within 1 s, 50 % of them replayed.\n"
    )


def test_a_dry_run_tells_canaries_and_room(
    littleq: Littleq, backend: Any, make_letter: Make, contract: None
) -> None:
    backend.bury(*(make_letter(number) for number in range(5)))
    backend.inspector.tables["mail"] = [TruthTable("mail", ready=1)]
    answer = littleq("dlq", "replay", "--all", "--dry-run", "--canary", "2", "--within-sla")
    assert answer.out.splitlines()[-2:] == [
        "5 dead letters would be replayed, the first 2 as canaries.",
        "mail has room for 3 of them now: it holds 1 job and can start 8 within 1 s, 50 % of them replayed.",
    ]
    assert backend.dead_letters.replayed == []
