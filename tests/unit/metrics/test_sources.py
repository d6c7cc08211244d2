from __future__ import annotations

import logging
import threading
import time

import pytest

from littleq.metrics.sources import Source, SourceError


def fail() -> object:
    raise ConnectionError("nobody there")


def test_it_connects_at_the_first_read_and_only_then() -> None:
    connections: list[int] = []
    source = Source("ledger", lambda: connections.append(1) or "client")
    assert connections == []
    assert [source.read(str.upper), source.read(str.upper)] == ["CLIENT", "CLIENT"]
    assert connections == [1]


def test_it_connects_again_until_that_works() -> None:
    attempts = iter([fail, lambda: 7])

    def connect() -> object:
        return next(attempts)()

    source = Source("ledger", connect)
    with pytest.raises(SourceError):
        source.read(repr)
    assert source.read(repr) == "7"


def test_an_answer_of_none_is_an_answer() -> None:
    assert Source("ledger", object).read(lambda _: None) is None


def test_an_outage_is_logged_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    source = Source("ledger", object)
    with caplog.at_level(logging.INFO, "littleq.metrics.sources"):
        for _ in range(3):
            with pytest.raises(SourceError):
                source.read(lambda _: fail())
        source.read(repr)
        source.read(repr)
    assert [record.getMessage() for record in caplog.records] == [
        "Cannot read the ledger: ConnectionError: nobody there",
        "The ledger can be read again.",
    ]


def test_a_read_that_hangs_is_given_up_and_those_behind_it_too_until_it_comes_back() -> None:
    """One thread hangs, however many scrapes come while it does."""
    let_go = threading.Event()
    source = Source("broker", object, seconds=0.05)
    began = time.monotonic()
    for _ in range(3):
        with pytest.raises(SourceError):
            source.read(lambda _: let_go.wait(30))
    assert time.monotonic() - began < 10
    assert sum(thread.name == "littleq-read-broker" for thread in threading.enumerate()) == 1
    let_go.set()
    for thread in threading.enumerate():
        if thread.name == "littleq-read-broker":
            thread.join(10)
    assert source.read(lambda _: "here") == "here"


def test_two_scrapes_at_once_are_both_answered() -> None:
    """As from a pair of Prometheus servers: the second waits for the first."""
    source = Source("ledger", object, seconds=10)
    inside, let_go, answers = threading.Event(), threading.Event(), []

    def slow(_: object) -> str:
        inside.set()
        let_go.wait(10)
        return "first"

    first = threading.Thread(target=lambda: answers.append(source.read(slow)))
    first.start()
    assert inside.wait(10)
    second = threading.Thread(target=lambda: answers.append(source.read(lambda _: "second")))
    second.start()
    let_go.set()
    first.join(10)
    second.join(10)
    assert sorted(answers) == ["first", "second"]
