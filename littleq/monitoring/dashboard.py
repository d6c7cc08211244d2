"""The dashboard of Grafana, as its JSON: an overview, and a row of panels for each queue.

It asks for what the recording rules record: load the rules into the Prometheus that it reads. Queues that come or go
need no change, Grafana repeats the row for each queue that is exported.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, Final

from littleq.metrics import names
from littleq.monitoring.panels import OF_A_QUEUE, OVERVIEW, Panel

#: Of Grafana 12 and 13. An older one takes it as it is, a later one brings it up to its own.
SCHEMA_VERSION: Final = 42
UID: Final = "littleq"
_WIDTH: Final = 24  # columns of Grafana's grid
_ACROSS: Final = 3
_HEIGHT: Final = 8
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_GREEN, _RED = "green", "red"


def dashboard() -> dict[str, Any]:
    """What Grafana imports, or finds in a provisioned file or a ConfigMap."""
    ids = count(1)
    panels = [_row("Fleet", next(ids), 0), *_laid_out(OVERVIEW, ids, 1)]
    below = 1 + _HEIGHT
    panels.append(_row("Queue $queue", next(ids), below, repeat="queue"))
    panels += _laid_out(OF_A_QUEUE, ids, below + 1)
    return {
        "uid": UID,
        "title": "LittleQ",
        "description": "Service levels of Dramatiq queues; docs/metrics.md tells what each number means.",
        "tags": ["littleq", "dramatiq"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,  # one cross-hair for all panels
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_datasource(), _queues()]},
        "annotations": {"list": []},
        "links": [],
        "panels": panels,
    }


def _datasource() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
    }


def _queues() -> dict[str, Any]:
    query = f"label_values({names.QUEUE_DEPTH.name}, queue)"
    return {
        "name": "queue",
        "label": "Queue",
        "type": "query",
        "datasource": dict(_SOURCE),
        "query": {"query": query, "refId": "queues"},
        "refresh": 2,  # whenever the time range changes
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _row(title: str, number: int, y: int, repeat: str | None = None) -> dict[str, Any]:
    row = {
        "id": number,
        "type": "row",
        "title": title,
        "collapsed": False,
        "gridPos": {"x": 0, "y": y, "w": _WIDTH, "h": 1},
        "panels": [],
    }
    return row if repeat is None else {**row, "repeat": repeat}


def _laid_out(panels: Sequence[Panel], ids: count[int], y: int) -> list[dict[str, Any]]:
    """Three to a line."""
    width = _WIDTH // _ACROSS
    return [
        _panel(panel, next(ids), x=place % _ACROSS * width, y=y + place // _ACROSS * _HEIGHT, width=width)
        for place, panel in enumerate(panels)
    ]


def _panel(panel: Panel, number: int, *, x: int, y: int, width: int) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "thresholds": _thresholds(panel)}
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "lineWidth": 1,
            "fillOpacity": 0,
            "showPoints": "never",
            "spanNulls": False,  # a gap tells that nothing was known
            "thresholdsStyle": {"mode": "off" if panel.red_above is None else "dashed"},
        }
    else:
        defaults["color"] = {"mode": "thresholds"}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": dict(_SOURCE),
        "gridPos": {"x": x, "y": y, "w": width, "h": _HEIGHT},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _options(panel),
        "targets": _targets(panel),
    }


def _targets(panel: Panel) -> list[dict[str, Any]]:
    return [
        {
            "refId": chr(ord("A") + place),
            "datasource": dict(_SOURCE),
            "expr": query.expression,
            "legendFormat": query.legend,
            "instant": panel.now,
            "range": not panel.now,
            "format": "table" if panel.kind == "table" else "time_series",
        }
        for place, query in enumerate(panel.queries)
    ]


def _thresholds(panel: Panel) -> dict[str, Any]:
    """Colours from below; the first step has no value, it begins at minus infinity."""
    if panel.red_below is not None:
        steps = [{"color": _RED, "value": None}, {"color": _GREEN, "value": panel.red_below}]
    elif panel.red_above is not None:
        steps = [{"color": _GREEN, "value": None}, {"color": _RED, "value": panel.red_above}]
    else:
        steps = [{"color": _GREEN, "value": None}]
    return {"mode": "absolute", "steps": steps}


def _options(panel: Panel) -> dict[str, Any]:
    last = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    if panel.kind == "timeseries":
        return {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    if panel.kind == "stat":
        return {
            "reduceOptions": last,
            "colorMode": "value",
            "graphMode": "none" if panel.now else "area",
            "justifyMode": "auto",
            "orientation": "auto",
            "textMode": "auto",
        }
    if panel.kind == "bargauge":
        return {
            "reduceOptions": last,
            "displayMode": "basic",
            "orientation": "horizontal",
            "showUnfilled": True,
        }
    return {"showHeader": True}
