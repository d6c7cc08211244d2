"""From what is known of a queue to a number of workers, step by step. Pure arithmetic, no memory.

Each step answers one question, in servers (threads that work at a time):

    steady     how many does the forecast rate need for ever (Erlang C), or, where the promise is long, what share
               of the load must be worked off while the queue absorbs the rest
    headroom   how many does a surprise need that is over before a new worker could be there
    backlog    for each moment ahead: the work that must have begun by then, against what the workers that are there,
               that are starting, and that would be asked for now can have served

The largest wins; `held` keeps it for a start-up time, since a worker sent away a moment too soon costs as much as one
kept a start-up time too long. Then min, max and the largest step.

Regimes: *cold* (no service time is known), *steady*, *draining* (the backlog decides), *lean* (the promise is longer
than a start-up, so the queue absorbs), *idle*, *holding* (paused, breaker open, too young to know), *blind* (the
numbers are missing or old).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from littleq.policies.scaling.outlook import Outlook
from littleq.policies.scaling.reasons import span, why_backlog, why_lean, why_steady
from littleq.policies.scaling.staffing import servers_for
from littleq.policies.scaling.types import ScalingSettings

#: Where the queue absorbs, a pool stays while it is right to within this share of a worker: no flapping.
LEAN_SLACK = 0.75


class Answer(NamedTuple):
    """What the steps lead to: workers before and after the bounds, the servers needed, the regime and the reason."""

    desired: int
    unbounded: int
    servers: int
    regime: str
    reason: str
    time_to_breach: float | None
    steps: dict[str, float]


def answer(settings: ScalingSettings, inputs: Mapping[str, Any]) -> Answer:
    """The decision that `inputs` (as `Decision.inputs`) lead to."""
    standing = inputs["standing_workers"]
    if inputs["blind"]:
        return _stay(settings, inputs, standing, "blind", f"{inputs['blind']}, so nothing is changed")
    if inputs["halted"]:
        return _stay(
            settings,
            inputs,
            standing,
            "holding",
            f"The queue is {inputs['halted']}, so more workers would not help",
        )
    if inputs["service_time"] is None:
        return _cold(settings, inputs)
    if inputs["idle_for"] is not None:
        why = f"Nothing has come for {span(inputs['idle_for'])} and nothing waits"
        return _bounded(settings, inputs, 0, 0, "idle", why, None, {})
    return _sized(settings, inputs)


def _sized(settings: ScalingSettings, inputs: Mapping[str, Any]) -> Answer:
    threads, service_time = settings.threads_per_worker, inputs["service_time"]
    view = Outlook(settings, inputs)
    load = inputs["arrival_rate"] * service_time
    steps: dict[str, float] = {"offered_load": load, "patience_seconds": view.patience}
    backlog = view.workers_for_backlog()
    steps["backlog_servers"] = backlog * threads
    if inputs["lean"]:
        steps["lean_servers"] = lean = view.lean_servers()
        steady = _lean_workers(lean / threads, inputs["desired_before"])
        regime, why = "lean", why_lean(inputs, view, load)
    else:
        tail = servers_for(
            inputs["arrival_rate"], service_time, inputs["service_scv"], view.promise, settings.percentile
        )
        ready_for = inputs["headroom_rate"] * inputs["margin"] * inputs["guard"]
        floor = servers_for(
            inputs["headroom_rate"], service_time, inputs["service_scv"], view.promise, settings.percentile
        )
        steps |= {
            "steady_servers": max(tail, floor),
            "headroom_servers": math.ceil(ready_for * service_time - 1e-9),
        }
        steady = math.ceil(max(steps["steady_servers"], steps["headroom_servers"]) / threads)
        regime, why = "steady", why_steady(settings, inputs, steps, ready_for)
    if backlog > steady:
        regime, why = "draining", why_backlog(inputs, backlog, view)
    # The last worker stays until the queue is idle; a queue that was never used wakes none.
    is_used = any(
        inputs[name] for name in ("arrival_rate", "backlog", "scheduled", "workers", "desired_before")
    )
    wanted = max(1 if is_used else 0, steady, backlog)
    steps["wanted_workers"] = wanted
    servers = wanted * threads
    held = max((workers for _, workers in inputs["held"]), default=0)
    if held > wanted and not inputs["lean"]:
        lately = span(inputs["startup_seconds"])
        why += f"; {held} workers stay, for they were wanted within the last start-up time ({lately})"
        wanted = held
    if inputs["young"] and wanted < standing_of(inputs):
        wanted, regime = standing_of(inputs), "holding"
        why += "; there is too little history yet to send any away"
    return _bounded(settings, inputs, wanted, servers, regime, why, view.time_to_breach(), steps)


def standing_of(inputs: Mapping[str, Any]) -> int:
    return int(inputs["standing_workers"])


def _lean_workers(wanted: float, before: int) -> int:
    return before if abs(wanted - before) < LEAN_SLACK else math.floor(wanted + 0.5)


def _cold(settings: ScalingSettings, inputs: Mapping[str, Any]) -> Answer:
    """No job has ever been timed: what waits, by the user's own measure of a worker."""
    waiting = sum(count for _, count in inputs["backlog"])
    workers = math.ceil(waiting / settings.jobs_per_worker)
    why = (
        f"No service time is known yet; {waiting:g} jobs wait, at {settings.jobs_per_worker} jobs a worker"
        f" (jobs_per_worker) that is {workers} workers"
    )
    if workers < inputs["standing_workers"]:
        workers, why = inputs["standing_workers"], f"{why}; those there stay until one is known"
    return _bounded(settings, inputs, workers, workers * settings.threads_per_worker, "cold", why, None, {})


def _stay(
    settings: ScalingSettings, inputs: Mapping[str, Any], workers: int, regime: str, why: str
) -> Answer:
    servers = workers * settings.threads_per_worker
    return _bounded(settings, inputs, workers, servers, regime, why, None, {})


def _bounded(
    settings: ScalingSettings,
    inputs: Mapping[str, Any],
    workers: int,
    servers: int,
    regime: str,
    why: str,
    breach: float | None,
    steps: dict[str, float],
) -> Answer:
    """Within min and max, the bound of the fleet and the largest step, and the sentence with its end."""
    least, most = settings.min_workers, settings.max_workers
    if settings.useful_workers is not None:
        most = max(least, min(most, settings.useful_workers))
    before = max(inputs["desired_before"], inputs["standing_workers"])  # the last decision may have been lost
    if settings.concurrency_global is not None:
        most = max(least, min(most, math.ceil(settings.concurrency_global / settings.threads_per_worker)))
    desired = workers
    if settings.max_step_up is not None and desired > before + settings.max_step_up:
        desired = before + settings.max_step_up
        why += f"; max_step_up allows {settings.max_step_up} more at a time"
    if settings.max_step_down is not None and desired < before - settings.max_step_down:
        desired = before - settings.max_step_down
        why += f"; max_step_down allows {settings.max_step_down} fewer at a time"
    if desired > most:
        desired = most
        bound = "max_workers" if most == settings.max_workers else "concurrency_global"
        allows = f"{bound} allows {most}"
        if most == settings.useful_workers:
            allows = f"but the broker gives jobs to {most} at a time (partitions of the topic)"
        why += f"; {workers} are wanted, {allows}"
    elif desired < least:
        desired = least
        why += f"; min_workers keeps {least}"
    steps["desired_workers"] = desired
    return Answer(desired, workers, servers, regime, why + ".", breach, steps)
