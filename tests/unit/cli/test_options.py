"""Durations, rates and addresses as people write them."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from littleq.cli.options import BROKER_URL, COUNT, DURATION, FACTOR, RATE, unknown_queue


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("50ms", 0.05),
        ("2s", 2.0),
        ("1m", 60.0),
        ("1min", 60.0),
        ("1.5h", 5400.0),
        ("0.25", 0.25),
        (" 3 s ", 3.0),
    ],
)
def test_a_duration_is_a_number_with_a_unit(text: str, seconds: float) -> None:
    assert DURATION.convert(text, None, None) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "0", "0ms", "-1s", "5x", "ms", "1 2", "inf", "nan", "1e3"])
def test_what_is_no_duration_is_refused_with_the_value_and_examples(text: str) -> None:
    with pytest.raises(click.BadParameter) as refusal:
        DURATION.convert(text, None, None)
    assert repr(text) in refusal.value.message
    assert "50ms" in refusal.value.message


@pytest.mark.parametrize(
    ("text", "rate"),
    [("20/s", 20.0), ("600/min", 10.0), ("90/m", 1.5), ("36/h", 0.01), ("7", 7.0), ("1 / s", 1.0)],
)
def test_a_rate_is_a_number_a_second_or_so(text: str, rate: float) -> None:
    assert RATE.convert(text, None, None) == pytest.approx(rate)


@pytest.mark.parametrize("text", ["", "0/s", "-3", "20/fortnight", "s", "inf/s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="20/s"):
        RATE.convert(text, None, None)


@given(st.floats(min_value=0.001, max_value=1e6))
def test_a_number_stays_what_it_is(value: float) -> None:
    assert DURATION.convert(value, None, None) == value
    assert RATE.convert(value, None, None) == value


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("localhost:6379", "redis://localhost:6379"),
        ("db", "redis://db:6379"),
        ("[::1]:6400", "redis://[::1]:6400"),
        ("me:secret@db:6400", "redis://me:secret@db:6400"),
        (":secret@db", "redis://:secret@db:6379"),
        ("redis://db:1/0", "redis://db:1/0"),
        ("unix:///run/valkey.sock", "unix:///run/valkey.sock"),
        ("embedded://", "embedded://"),
    ],
)
def test_a_bare_address_becomes_a_redis_url(text: str, url: str) -> None:
    assert BROKER_URL.convert(text, None, None) == url


@pytest.mark.parametrize(
    "text", ["", ":6379", "db:port", "db:0", "db:70000", "a b:6379", "http://db", "db/0", "hunter2:x@db:no"]
)
def test_what_is_no_address_is_refused_without_its_secret(text: str) -> None:
    with pytest.raises(click.BadParameter) as refusal:
        BROKER_URL.convert(text, None, None)
    assert "HOST:PORT" in refusal.value.message
    assert "hunter2" not in refusal.value.message


def test_counts_and_factors_say_their_range() -> None:
    assert COUNT.convert("3", None, None) == 3
    assert FACTOR.convert("0.5", None, None) == 0.5
    for kind, text in (
        (COUNT, "0"),
        (COUNT, "1.5"),
        (COUNT, "many"),
        (FACTOR, "0"),
        (FACTOR, "inf"),
        (FACTOR, "x"),
    ):
        with pytest.raises(click.BadParameter, match=r"is not a (whole number from 1 up|number above 0)"):
            kind.convert(text, None, None)


def test_an_unknown_queue_is_told_the_known_ones() -> None:
    assert unknown_queue("mial", {"mail", "batch"}) == "No queue is called 'mial'; known queues: batch, mail."
    assert "none yet" in unknown_queue("mail", set())
