"""The dashboard is one that Grafana can load: its parts fit together, and it asks for what is there."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest

from littleq.metrics import names
from littleq.monitoring.dashboard import dashboard
from littleq.monitoring.recording import recording_groups

DASHBOARD = dashboard()
PANELS = DASHBOARD["panels"]
DRAWN = [panel for panel in PANELS if panel["type"] != "row"]
RECORDED = {rule["record"] for group in recording_groups() for rule in group["rules"]}
#: Panels that Grafana still develops; graph, singlestat, table-old and such are gone.
TYPES = {"row", "timeseries", "stat", "bargauge", "table"}
UNITS = {"short", "s", "reqps", "percentunit"}
Box = dict[str, int]


def targets() -> list[tuple[str, dict[str, Any]]]:
    return [(panel["title"], target) for panel in DRAWN for target in panel["targets"]]


def overlap(one: Box, other: Box) -> bool:
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )


def test_it_is_json_and_the_same_every_time() -> None:
    assert json.loads(json.dumps(DASHBOARD)) == DASHBOARD == dashboard()


def test_numbers_of_panels_are_unique_and_no_panel_covers_another() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for one, other in itertools.combinations(PANELS, 2):
        assert not overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in PANELS)
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)


def test_there_is_one_row_for_each_queue_and_all_below_it_is_of_that_queue() -> None:
    rows = [panel for panel in PANELS if panel["type"] == "row"]
    assert [row.get("repeat") for row in rows] == [None, "queue"]
    below = [panel for panel in DRAWN if panel["gridPos"]["y"] > rows[1]["gridPos"]["y"]]
    assert len(below) == 12
    for panel in below:
        assert all('queue=~"$queue"' in target["expr"] for target in panel["targets"]), panel["title"]


@pytest.mark.parametrize("panel", DRAWN, ids=lambda panel: panel["title"])
def test_a_panel_has_a_type_a_unit_a_description_and_queries(panel: dict[str, Any]) -> None:
    assert panel["type"] in TYPES
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["description"].endswith(".")
    assert [target["refId"] for target in panel["targets"]] == list("ABCDEFGH"[: len(panel["targets"])])
    assert all(target["legendFormat"] for target in panel["targets"])


def test_every_variable_that_is_used_is_there() -> None:
    defined = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)\}?", json.dumps(PANELS)))
    assert used == defined == {"datasource", "queue"}
    (queue,) = (each for each in DASHBOARD["templating"]["list"] if each["name"] == "queue")
    assert queue["query"]["query"] == "label_values(sla_queue_depth, queue)"
    assert queue["datasource"]["uid"] == "${datasource}"


@pytest.mark.parametrize(("title", "target"), targets())
def test_a_query_asks_for_what_is_exported_or_recorded(title: str, target: dict[str, Any]) -> None:
    expression = target["expr"]
    recorded = set(re.findall(r"\bqueue\w*:[\w:]+", expression))
    exported = set(re.findall(r"\bsla_\w+", re.sub(r"\bqueue\w*:[\w:]+", "", expression)))
    assert recorded <= RECORDED, title
    assert exported <= {metric.name for metric in names.METRICS}, title
    assert recorded or exported or "ALERTS" in expression


@pytest.mark.parametrize(("title", "target"), targets())
def test_a_query_takes_one_of_what_two_exporters_show(title: str, target: dict[str, Any]) -> None:
    for found in re.finditer(r"\bsla_\w+", re.sub(r"\bqueue\w*:[\w:]+", "", target["expr"])):
        assert re.search(r"max by \(\w+\) \($", found.string[: found.start()]), title


def test_labels_in_legends_are_those_of_the_series() -> None:
    for title, target in targets():
        for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
            assert label in {"queue", "source", "outcome", "reason", "alertname"}, title
