"""The picture of a run: it is drawn, and what it shows is what happened."""

from __future__ import annotations

import builtins
import math
from pathlib import Path
from typing import Any

import pytest

from littleq.errors import ConfigurationError
from littleq.policies.scaling import ScalingSettings
from littleq.simulation import plot
from littleq.simulation.engine import Run, simulate
from littleq.simulation.workload import Workload
from tests.simulation.fixed_pool import Planned

SETTINGS = ScalingSettings(sla_seconds=1.0, startup_seconds=10.0)
WORKLOAD = Workload([1.0, 2.0, 3.0, 50.0], [10.0, 5.0, 5.0, 1.0], 100.0)


@pytest.fixture
def run() -> Run:
    return simulate(WORKLOAD, Planned([3, 1], 20.0), SETTINGS, initial_workers=1)


@pytest.mark.parametrize(
    ("name", "begins"), [("run.png", b"\x89PNG"), ("run.svg", b"<?xml"), ("run.pdf", b"%PDF")]
)
def test_a_picture_is_drawn_in_the_format_of_its_ending(
    tmp_path: Path, run: Run, name: str, begins: bytes
) -> None:
    pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")
    plot.draw(tmp_path / name, WORKLOAD, [run, run], SETTINGS)
    written = (tmp_path / name).read_bytes()
    assert written.startswith(begins)
    assert len(written) > 5000


def test_more_policies_than_colours_are_drawn_too(tmp_path: Path, run: Run) -> None:
    pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")
    plot.draw(tmp_path / "many.png", WORKLOAD, [run] * 9, SETTINGS)
    assert (tmp_path / "many.png").exists()


def test_depths_are_the_jobs_that_wait(run: Run) -> None:
    assert run.starts == [1.0, 11.0, 16.0, 50.0]
    assert plot._depths(run, [0.0, 1.0, 2.5, 4.0, 12.0, 20.0]) == [0, 0, 1, 2, 1, 0]


def test_the_slowest_job_of_each_span_is_shown_from_a_hundredth_of_the_sla_on(run: Run) -> None:
    slowest = plot._slowest(run, [0.0, 2.5, 5.0, 7.5], SETTINGS)
    assert slowest[:2] == [9.0, 13.0]
    assert plot._slowest(run, [0.0, 60.0, 120.0], ScalingSettings(sla_seconds=1.0, sojourn=True))[0] == 18.0
    spans = plot._slowest(run, [0.0, 30.0, 60.0, 90.0], SETTINGS)
    assert spans[:2] == [13.0, 0.01]
    assert math.isnan(spans[2])


def test_the_pool_is_what_is_paid_for(run: Run) -> None:
    times, workers = plot._pool(run, 60.0)
    assert times[:3] == [0.0, pytest.approx(1 / 3), pytest.approx(2 / 3)]
    assert workers[:3] == [1, 3, 1]
    assert times[-1] == pytest.approx(run.end / 60)


@pytest.mark.parametrize(("name", "says"), [("run.xyz", "Format 'xyz'"), ("no/run.png", "No such file")])
def test_a_picture_that_cannot_be_written_is_said_so(tmp_path: Path, run: Run, name: str, says: str) -> None:
    pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")
    with pytest.raises(ConfigurationError, match=says) as refusal:
        plot.draw(tmp_path / name, WORKLOAD, [run], SETTINGS)
    assert "name a PNG, SVG or PDF" in str(refusal.value)


def test_without_matplotlib_the_way_to_it_is_told(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigurationError, match=r"pip install 'littleq\[plot\]'"):
        plot.draw(tmp_path / "run.png", WORKLOAD, [run], SETTINGS)
