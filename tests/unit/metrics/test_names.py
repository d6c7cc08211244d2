from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from littleq import job
from littleq.backends.base import TruthTable
from littleq.metrics import labels, names

DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_the_documented_table_is_the_defined_one() -> None:
    rows = [line for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("| `sla_")]
    defined = [row(metric) for metric in names.METRICS]
    assert rows == defined, "docs/metrics.md must hold these rows:\n" + "\n".join(defined)


def row(metric: names.Metric) -> str:
    inside = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {inside} | {metric.help} |"


def test_every_metric_in_the_examples_of_the_docs_exists() -> None:
    series = {metric.name for metric in names.METRICS}
    series |= {f"{name}{suffix}" for name in series for suffix in ("_bucket", "_sum", "_count")}
    used = set(re.findall(r"\bsla_[a-z0-9_]+", DOCS.read_text(encoding="utf-8")))
    assert used <= series | {"sla_seconds", "sla_on"}


def test_names_are_unique() -> None:
    assert len({metric.name for metric in names.METRICS}) == len(names.METRICS)


@pytest.mark.parametrize("metric", names.METRICS, ids=lambda metric: metric.name)
def test_names_keep_to_the_conventions_of_prometheus(metric: names.Metric) -> None:
    """What `promtool check metrics` asks for, and one prefix."""
    assert re.fullmatch(r"sla_[a-z]+(_[a-z0-9]+)*", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert not re.search(r"_(milliseconds|ms|minutes|hours|percent|gauge|counter|histogram)\b", metric.name)
    assert not metric.name.endswith(("_count", "_sum", "_bucket", "_created", "_info"))
    assert metric.kind != "histogram" or metric.name.endswith("_seconds")


@pytest.mark.parametrize("metric", names.METRICS, ids=lambda metric: metric.name)
def test_help_is_a_sentence_that_fits_a_table_cell(metric: names.Metric) -> None:
    assert metric.help.endswith(".")
    assert not re.search(r"[|\n\\]", metric.help)
    assert "process_id" not in metric.labels  # the fleet's numbers: no label may name a process


def test_closed_label_sets_are_those_of_the_code() -> None:
    assert job.Death.__doc__ is not None
    assert set(labels.DEATH_REASONS) == set(re.findall(r"`(\w+)` \(", job.Death.__doc__))
    assert set(labels.STATES) <= {field.name for field in dataclasses.fields(TruthTable)}
    assert labels.CRITICALITIES == ("critical", "default", "sheddable")
