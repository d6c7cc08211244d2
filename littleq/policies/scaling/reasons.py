"""Why a number of workers is wanted, in a sentence for an operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from littleq.policies.scaling.outlook import Outlook
from littleq.policies.scaling.types import ScalingSettings


def why_steady(
    settings: ScalingSettings, inputs: Mapping[str, Any], steps: Mapping[str, float], ready_for: float
) -> str:
    promise = f"{settings.percentile:g} % within {span(settings.sla_seconds)}"
    if steps["headroom_servers"] <= steps["steady_servers"]:
        return (
            f"{inputs['arrival_rate']:.3g} jobs/s of {span(inputs['service_time'])} need"
            f" {steps['steady_servers']:g} threads for {promise}"
        )
    return (
        f"{inputs['arrival_rate']:.3g} jobs/s come, but surprises were such that only readiness for {ready_for:.3g}/s"
        f" (the {inputs['headroom_of']} × {inputs['margin'] * inputs['guard']:.3g}) keeps {promise}:"
        f" {steps['headroom_servers']:g} threads"
    )


def why_lean(inputs: Mapping[str, Any], view: Outlook, load: float) -> str:
    return (
        f"{inputs['arrival_rate']:.3g} jobs/s of {span(inputs['service_time'])} keep {load:.3g} threads busy; jobs may"
        f" wait {span(view.patience)}, longer than a worker needs to start, so the queue absorbs the rest"
    )


def why_backlog(inputs: Mapping[str, Any], workers: int, view: Outlook) -> str:
    waiting = sum(count for _, count in inputs["backlog"])
    there = inputs["workers"] + sum(count for _, count in inputs["starting"])
    return (
        f"{waiting:g} jobs wait and {inputs['backlog_rate']:.3g}/s come: for all to start within {span(view.patience)}"
        f" of being ready it takes {workers} workers ({there} are there or starting)"
    )


def span(seconds: float) -> str:
    """A duration for a sentence.

    >>> span(0.0123), span(1.0), span(90.0), span(7200.0)
    ('12 ms', '1 s', '90 s', '2 h')
    """
    if seconds < 0.0995:
        return f"{seconds * 1000:.2g} ms"
    if seconds < 600:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
