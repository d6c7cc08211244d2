"""The jobs of a simulation, and traces made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from littleq.errors import ValidationError
from littleq.simulation.arrivals import Trace
from littleq.simulation.services import parse_service
from littleq.simulation.shapes import parse_shape
from littleq.simulation.traces import TraceError, ensure_writable, read_trace, write_trace
from littleq.simulation.workload import Workload, from_shape, from_trace

EXP, CONSTANT = parse_service("exp:0.2"), parse_service("constant:0.2")


def test_the_same_seed_gives_the_same_jobs_and_another_one_others() -> None:
    shape = parse_shape("poisson:10", 60.0)
    first, again, other = (from_shape(shape, EXP, seconds=60.0, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.arrivals != other.arrivals
    assert first.services != other.services


def test_another_service_time_leaves_the_arrivals_as_they_are() -> None:
    shape = parse_shape("poisson:10", 60.0)
    assert (
        from_shape(shape, EXP, seconds=60.0, seed=1).arrivals
        == from_shape(shape, CONSTANT, seconds=60.0, seed=1).arrivals
    )


def test_services_have_a_stream_of_their_own() -> None:
    """From one stream, the first service would be the first gap: both are exponential with mean 0.2 s."""
    workload = from_shape(parse_shape("poisson:5", 60.0), EXP, seconds=60.0, seed=1)
    assert workload.arrivals[0] != workload.services[0]


def test_a_trace_is_played_whole_and_faster_where_asked() -> None:
    trace = Trace(60.0, 6.0, ((3, 5), (5, 7)))
    played = from_trace(trace, EXP, seed=0)
    assert (len(played.arrivals), played.seconds) == (12, 30.0)
    assert from_trace(trace, EXP, seed=0, speed_up=60.0).seconds == 3.0


def test_a_trace_that_would_fill_the_memory_is_refused() -> None:
    with pytest.raises(ValidationError, match="has 10,000,001 arrivals: give one of at most 10,000,000"):
        from_trace(Trace(60.0, 1.0, ((0, 10_000_000), (1, 1))), EXP, seed=0)


def test_moments_of_the_jobs() -> None:
    workload = Workload([0.0, 1.0, 61.0, 62.0, 63.0], [1.0, 3.0, 2.0, 1.0, 3.0], 90.0)
    assert workload.service_time == 2.0
    assert workload.work == 10.0
    assert workload.service_scv == pytest.approx(0.2)  # variance 0.8 over 4
    assert workload.rate(0.0, 60.0) == pytest.approx(2 / 60)
    assert workload.peak_rate() == pytest.approx(3 / 60)  # the second minute, of which only half is there
    assert workload.peak_rate(10.0) == pytest.approx(3 / 10)


def test_no_job_has_no_moments() -> None:
    nothing = Workload([], [], 60.0)
    assert (nothing.service_time, nothing.service_scv, nothing.work, nothing.peak_rate()) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("arrivals", "services", "says"),
    [
        ([1.0, 2.0], [1.0], "2 arrivals have 1 service times"),
        ([2.0, 1.0], [1.0, 1.0], "go back in time"),
        ([1.0, 11.0], [1.0, 1.0], "lie from 1 to 11 s"),
        ([-1.0, 1.0], [1.0, 1.0], "lie from -1 to 1 s"),
    ],
)
def test_jobs_that_cannot_be_are_refused(arrivals: list[float], services: list[float], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Workload(arrivals, services, 10.0)


def test_jobs_become_a_trace_that_can_be_read_back(tmp_path: Path) -> None:
    workload = from_shape(parse_shape("poisson:2", 100.0), EXP, seconds=100.0, seed=4)
    trace = workload.binned(10.0)
    assert trace.total == len(workload.arrivals)
    assert trace.seconds() == 100.0
    write_trace(tmp_path / "t.csv", trace, source="a test")
    assert read_trace(tmp_path / "t.csv") == trace
    assert (
        (tmp_path / "t.csv").read_text().startswith("# source: a test\n# bin_seconds: 10\nbin,arrivals\n0,")
    )


def test_a_trace_without_arrivals_at_its_ends_keeps_its_length() -> None:
    trace = Workload([55.0], [1.0], 100.0).binned(10.0)
    assert trace.bins == ((0, 0), (5, 1), (9, 0))


def test_a_speed_up_is_written_too(tmp_path: Path) -> None:
    trace = Trace(300.0, 12.0, ((0, 1), (2, 3)))
    write_trace(tmp_path / "t.csv", trace, source="a test")
    assert read_trace(tmp_path / "t.csv") == trace


def test_whether_a_trace_can_be_written_is_known_before_and_leaves_nothing_behind(tmp_path: Path) -> None:
    ensure_writable(tmp_path / "t.csv")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "t.csv").write_text("kept")
    ensure_writable(tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "kept"
    with pytest.raises(TraceError, match="cannot be written"):
        ensure_writable(tmp_path / "no" / "t.csv")


def test_a_trace_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"cannot be written \(No such file"):
        write_trace(tmp_path / "no" / "t.csv", Trace(1.0, 1.0, ((0, 1),)), source="a test")
