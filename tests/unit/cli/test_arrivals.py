"""Arrival times: their rate, their order, and what a trace file may look like."""

from __future__ import annotations

import itertools
import math
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from littleq.simulation.arrivals import Trace, bursts, generated, poisson, steady
from littleq.simulation.traces import TraceError, read_trace

SHIPPED = sorted((Path(__file__).parents[3] / "examples" / "traces").glob("*.csv"))

rates = st.floats(min_value=0.01, max_value=1000)
seeds = st.integers(min_value=0, max_value=2**32)


def write(folder: Path, text: str) -> Path:
    path = folder / "trace.csv"
    path.write_text(text, encoding="utf-8")
    return path


@given(interval=st.floats(min_value=0.001, max_value=100), number=st.integers(0, 10_000))
def test_steady_arrivals_do_not_drift(interval: float, number: int) -> None:
    assert next(itertools.islice(steady(interval), number, None)) == pytest.approx(number * interval)


def test_the_mean_number_of_poisson_arrivals_is_the_rate_times_the_time() -> None:
    """Over many seeds: a sum of Poisson counts is Poisson, and 4.5 standard deviations are one in 10^5."""
    rate, horizon, runs = 20.0, 5.0, 300
    total = sum(
        sum(1 for _ in itertools.takewhile(lambda at: at < horizon, poisson(rate, random.Random(seed))))
        for seed in range(runs)
    )
    expected = rate * horizon * runs
    assert abs(total - expected) < 4.5 * math.sqrt(expected)


def test_poisson_gaps_are_exponential() -> None:
    """Their squared coefficient of variation is 1; its standard error is about sqrt(8 / n)."""
    arrivals = list(itertools.islice(poisson(3.0, random.Random(7)), 20_000))
    gaps = [later - earlier for earlier, later in itertools.pairwise(arrivals)]
    mean = sum(gaps) / len(gaps)
    scv = sum((gap - mean) ** 2 for gap in gaps) / len(gaps) / mean**2
    assert scv == pytest.approx(1.0, abs=4.5 * math.sqrt(8 / len(gaps)))


@given(rate=rates, burst=st.integers(1, 50), is_poisson=st.booleans(), seed=seeds)
def test_arrivals_never_go_back_in_time(rate: float, burst: int, is_poisson: bool, seed: int) -> None:
    arrivals = generated(rate=rate, burst=burst, is_poisson=is_poisson, rng=random.Random(seed))
    taken = list(itertools.islice(arrivals, 200))
    assert taken == sorted(taken)
    assert taken[0] >= 0


@given(rate=rates, burst=st.integers(1, 20))
def test_bursts_keep_the_mean_rate(rate: float, burst: int) -> None:
    arrivals = generated(rate=rate, burst=burst, is_poisson=False, rng=random.Random(0))
    taken = list(itertools.islice(arrivals, 10 * burst + 1))
    assert 10 * burst / taken[-1] == pytest.approx(rate)


def test_a_burst_comes_at_once() -> None:
    assert list(itertools.islice(bursts(steady(2.0), 3), 7)) == [0, 0, 0, 2, 2, 2, 4]


counts = st.lists(st.integers(0, 30), min_size=1, max_size=40).filter(any)


@settings(max_examples=50)
@given(counts=counts, width=st.floats(0.1, 600), speed_up=st.floats(0.1, 600), seed=seeds)
def test_a_trace_replays_every_arrival_inside_its_bin(
    counts: list[int], width: float, speed_up: float, seed: int
) -> None:
    trace = Trace(width, speed_up, tuple(enumerate(counts)))
    arrivals = list(trace.arrivals(random.Random(seed)))
    assert len(arrivals) == trace.total == sum(counts)
    assert arrivals == sorted(arrivals)
    played = width / speed_up
    found = [0] * len(counts)
    for at in arrivals:
        found[min(int(at / played), len(counts) - 1)] += 1
    assert sum(abs(a - b) for a, b in zip(found, counts, strict=True)) <= 2  # rounding at an edge


def test_a_speed_up_overrides_the_trace() -> None:
    trace = Trace(60.0, 6.0, ((0, 1), (9, 1)))
    assert trace.seconds() == 100.0
    assert trace.seconds(60.0) == 10.0
    assert max(trace.arrivals(random.Random(1), 60.0)) <= 10.0


def test_a_trace_may_begin_late_and_leave_bins_out(tmp_path: Path) -> None:
    trace = read_trace(write(tmp_path, "# bin_seconds: 10\nbin,arrivals\n100,2\n\n103, 1\n"))
    assert trace == Trace(10.0, 1.0, ((100, 2), (103, 1)))
    first, _, last = trace.arrivals(random.Random(3))
    assert 0 <= first < 10
    assert 30 <= last < 40


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_shipped_traces_can_be_read(path: Path) -> None:
    trace = read_trace(path)
    rows = [line.split(",") for line in path.read_text().splitlines() if line[:1].isdigit()]
    assert trace.total == sum(int(arrivals) for _, arrivals in rows)
    assert sum(1 for _ in trace.arrivals(random.Random(0))) == trace.total


HEAD = "# bin_seconds: 60\nbin,arrivals\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("bin,arrivals\n0,1\n", "bin_seconds"),
        ("# bin_seconds: 0\nbin,arrivals\n0,1\n", "line 1: bin_seconds is '0': give a number above 0"),
        ("# bin_seconds: 1\n# speedup: fast\nbin,arrivals\n0,1\n", "line 2: speedup is 'fast'"),
        ("# bin_seconds: inf\nbin,arrivals\n0,1\n", "line 1: bin_seconds is 'inf'"),
        ("# bin_seconds: 1\n0,1\n", "line 2: '0,1' stands where the title row"),
        (HEAD + "0,x\n", "line 3: '0,x' is not a `bin,arrivals` row"),
        (HEAD + "0,1,2\n", "line 3: '0,1,2' is not"),
        (HEAD + "0\n", "line 3: '0' is not"),
        (HEAD + "1,1\n1,1\n", "line 4: bin 1 comes after bin 1"),
        (HEAD + "-1,1\n", "line 3: bin -1 comes after bin -1"),
        (HEAD + "0,-4\n", "line 3: bin 0 has -4 arrivals"),
        (HEAD, "holds no arrivals"),
        (HEAD + "0,0\n", "holds no arrivals"),
        (HEAD + "0," + "9" * 100 + "x\n", "…' is not a"),
    ],
)
def test_a_malformed_trace_is_refused_in_a_sentence_with_its_place(
    tmp_path: Path, text: str, says: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(TraceError) as refusal:
        read_trace(path)
    assert says in str(refusal.value)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_trace_that_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot be read"):
        read_trace(tmp_path / "nowhere.csv")
    with pytest.raises(TraceError, match="cannot be read"):
        read_trace(tmp_path)
    binary = tmp_path / "picture.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TraceError, match="is not text"):
        read_trace(binary)
