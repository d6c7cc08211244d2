"""What becomes of canaries, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from littleq.backends.letters import DeadLetter
from littleq.cli.canary import CanaryWatch
from littleq.dead_letters import fingerprint
from littleq.testing import ManualClock

Make = Callable[..., DeadLetter]
SINCE = 1_800_000_000.0


class Watched:
    """Two canaries in a fake store; `at` says what happens when."""

    def __init__(self, store: Any, canaries: list[DeadLetter]) -> None:
        self.store, self.clock = store, ManualClock()
        self.events: list[tuple[float, Callable[[], Any]]] = []
        self.watch = CanaryWatch(store, canaries, SINCE, self.clock.monotonic, self.sleep)

    def at(self, seconds: float, event: Callable[[], Any]) -> None:
        self.events.append((seconds, event))

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.clock.advance(seconds)
        for event in [event for event in self.events if event[0] <= self.clock.monotonic()]:
            self.events.remove(event)
            event[1]()


@pytest.fixture
def canaries(make_letter: Make) -> list[DeadLetter]:
    return [make_letter(1), make_letter(2, queue="batch")]


@pytest.fixture
def watched(backend: Any, canaries: list[DeadLetter]) -> Watched:
    return Watched(backend.dead_letters, canaries)


def test_canaries_that_are_nowhere_any_more_are_done(watched: Watched) -> None:
    watched.store.places = {"letter-1": "queued", "letter-2": "delayed"}
    watched.at(1, lambda: watched.store.places.pop("letter-1"))
    watched.at(20, lambda: watched.store.places.pop("letter-2"))
    assert watched.watch.verdict(patience=60).is_good
    assert watched.clock.monotonic() == pytest.approx(20, abs=0.5)
    assert watched.store.searches == 2  # once in each queue: reading a whole queue is slow


def test_a_retry_under_another_id_is_not_done(watched: Watched) -> None:
    """Found by the search only; while it is looked for it does not count as done."""
    watched.store.hidden = {"letter-2": "delayed"}
    verdict = watched.watch.verdict(patience=5)
    assert verdict.unfinished
    assert verdict.sentence(2, 5) == (
        "1 of 2 canaries is not done after 5 s (1 delayed). "
        "The other letters stay dead: look why, or give a longer --patience."
    )


def test_searches_take_a_tenth_of_the_time(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.store.hidden = {"letter-2": "delayed"}
    stock = watched.store.whereabouts

    def slow(queue: str, letters: Any, *, thorough: bool = False) -> Any:
        watched.clock.advance(1.0 if thorough else 0.0)
        return stock(queue, letters, thorough=thorough)

    monkeypatch.setattr(watched.store, "whereabouts", slow)
    watched.watch.verdict(patience=100)
    assert watched.store.searches <= 12


def test_a_canary_that_is_dead_again_stops_at_once(watched: Watched, canaries: list[DeadLetter]) -> None:
    again = replace(canaries[1], letter_id="other-id", died_at=SINCE + 3)
    watched.store.places = {"letter-1": "queued", "letter-2": "queued"}
    watched.at(3, lambda: watched.store.dead.append(again))
    verdict = watched.watch.verdict(patience=60)
    assert list(verdict.died) == [again]
    assert watched.clock.monotonic() < 4
    assert verdict.sentence(2, 60) == (
        "The canary other-id is dead again: exhausted: ZeroDivisionError: division by zero, "
        f"fingerprint {fingerprint(again).key}. The other letters stay dead."
    )


def test_death_between_two_looks_is_no_success(watched: Watched, canaries: list[DeadLetter]) -> None:
    """It left the queue and died after the queues were read: the letters are read last."""
    stock = watched.store.whereabouts

    def dies_after(queue: str, letters: Any, *, thorough: bool = False) -> Any:
        found = stock(queue, letters, thorough=thorough)
        if thorough and not watched.store.dead:
            watched.store.dead.append(replace(canaries[0], died_at=SINCE + 1))
        return found

    watched.store.whereabouts = dies_after
    assert watched.watch.verdict(patience=60).died


def test_other_deaths_and_older_letters_of_the_same_job_do_not_count(
    watched: Watched, canaries: list[DeadLetter], make_letter: Make
) -> None:
    watched.store.dead = [
        replace(canaries[0], letter_id="twin", died_at=SINCE - 100),
        make_letter(7, died_at=SINCE + 1),
    ]
    assert watched.watch.verdict(patience=60).is_good


def test_deaths_that_were_read_are_not_read_again(watched: Watched, make_letter: Make) -> None:
    """On a busy queue there are many more deaths than canaries."""
    watched.store.places = {"letter-1": "queued"}
    watched.store.dead = [make_letter(100 + n, died_at=SINCE + n) for n in range(50)]
    read, stock = [], watched.store.letters

    def reading(queue: str, **wanted: Any) -> Any:
        for letter in stock(queue, **wanted):
            read.append(letter)
            yield letter

    watched.store.letters = reading
    watched.watch.verdict(patience=10)
    assert len(read) < 50 + 45  # at each of forty looks the last one once more, for deaths at the same moment
