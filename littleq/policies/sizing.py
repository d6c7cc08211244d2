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
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from littleq.policies.staffing import servers_for

if TYPE_CHECKING:
    from littleq.policies.scaling import ScalingSettings

#: A promise that is already broken is restored within so many seconds of the arrival of new workers: shorter costs more
#: workers than it saves misses.
DRAIN_SECONDS = 5.0
#: Where the queue absorbs, jobs wait this share of what they may wait: room on both sides for what is not foreseen.
LEAN_WAIT_SHARE = 0.5
#: Where the queue absorbs, a pool stays while it is right to within this share of a worker: no flapping.
LEAN_SLACK = 0.75
#: A new worker is asked for when it would be used for this share of its time, at least.
WORTH_A_WORKER = 0.25
#: Moments ahead that are looked at, at most.
MOST_MOMENTS = 40


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
        why = f"Nothing has come for {_span(inputs['idle_for'])} and nothing waits"
        return _bounded(settings, inputs, 0, 0, "idle", why, None, {})
    return _sized(settings, inputs)


def _sized(settings: ScalingSettings, inputs: Mapping[str, Any]) -> Answer:
    threads, service_time = settings.threads_per_worker, inputs["service_time"]
    view = _Outlook(settings, inputs)
    load = inputs["arrival_rate"] * service_time
    steps: dict[str, float] = {"offered_load": load, "patience_seconds": view.patience}
    backlog = view.workers_for_backlog()
    steps["backlog_servers"] = backlog * threads
    if inputs["lean"]:
        steps["lean_servers"] = lean = view.lean_servers()
        steady = _lean_workers(lean / threads, inputs["desired_before"])
        regime, why = "lean", _why_lean(inputs, view, load)
    else:
        tail = servers_for(
            inputs["arrival_rate"], service_time, inputs["service_scv"], view.promise, settings.percentile
        )
        ready_for = inputs["headroom_rate"] * inputs["margin"] * inputs["guard"]
        floor = servers_for(
            inputs["headroom_rate"], service_time, inputs["service_scv"], view.promise, settings.percentile
        )
        steps |= {"steady_servers": max(tail, floor), "headroom_servers": math.ceil(ready_for * service_time - 1e-9)}
        steady = math.ceil(max(steps["steady_servers"], steps["headroom_servers"]) / threads)
        regime, why = "steady", _why_steady(settings, inputs, steps, ready_for)
    if backlog > steady:
        regime, why = "draining", _why_backlog(settings, inputs, backlog, view)
    wanted = max(1, steady, backlog)
    steps["wanted_workers"] = wanted
    servers = wanted * threads
    held = max((workers for _, workers in inputs["held"]), default=0)
    if held > wanted and not inputs["lean"]:
        why += f"; {held} workers stay until the last start-up time ({_span(inputs['startup_seconds'])}) has not needed them"
        wanted = held
    if inputs["young"] and wanted < standing_of(inputs):
        wanted, regime = standing_of(inputs), "holding"
        why += "; there is too little history yet to send any away"
    return _bounded(settings, inputs, wanted, servers, regime, why, view.time_to_breach(), steps)


def standing_of(inputs: Mapping[str, Any]) -> int:
    return int(inputs["standing_workers"])


class _Outlook:
    """Work that must have begun by each moment ahead, and who can have done it."""

    def __init__(self, settings: ScalingSettings, inputs: Mapping[str, Any]) -> None:
        self._inputs, self._settings = inputs, settings
        self.service_time: float = inputs["service_time"]
        # A sojourn promise leaves for the wait what the service does not take.
        self.promise = max(
            settings.sla_seconds - (self.service_time if settings.sojourn else 0.0),
            0.05 * settings.sla_seconds,
        )
        self.patience = self.promise * settings.scale_threshold
        self.startup: float = inputs["startup_seconds"]
        step = settings.interval_seconds
        horizon = self.startup + max(DRAIN_SECONDS, self.patience) + step
        step *= max(1.0, math.ceil(horizon / step / MOST_MOMENTS))
        self._moments = [step * k for k in range(1, int(horizon / step + 1e-9) + 1)]
        self._first_help = self.startup + (step if inputs["lean"] else max(DRAIN_SECONDS, step))

    def due(self, moment: float, patience: float) -> float:
        """Server-seconds of the jobs that must have begun within `moment` seconds, jobs to come included."""
        jobs = sum(count for age, count in self._inputs["backlog"] if patience - age <= moment)
        jobs += sum(count for after, count in self._inputs["scheduled"] if after + patience <= moment)
        jobs += self._inputs["backlog_rate"] * max(0.0, moment - patience)
        return float(jobs * self.service_time)

    def served(self, moment: float) -> float:
        """Server-seconds that the workers there and starting can have served by then."""
        workers = self._inputs["workers"] * moment
        workers += sum(count * max(0.0, moment - left) for left, count in self._inputs["starting"])
        return float(workers * self._settings.threads_per_worker)

    def workers_for_backlog(self) -> int:
        """The fewest workers, there, starting or new, with which all that is due is begun in time."""
        threads, inputs = self._settings.threads_per_worker, self._inputs
        due = [(moment, self.due(moment, self.patience)) for moment in self._moments]
        missing = max(
            (
                (work - self.served(moment)) / (moment - self.startup) / threads
                for moment, work in due
                if moment >= self._first_help - 1e-6
            ),
            default=0.0,
        )
        there, starting = inputs["workers"], inputs["starting"]
        if missing > WORTH_A_WORKER:
            return int(there + sum(count for _, count in starting) + math.ceil(missing - 1e-9))
        # Enough: how many of them could go? A little too few is no reason to ask for one more.
        spare = [(m, max(0.0, w - WORTH_A_WORKER * threads * max(0.0, m - self.startup))) for m, w in due]
        fewest = math.ceil(max((work / moment for moment, work in spare), default=0.0) / threads - 1e-9)
        if fewest <= there:
            return max(0, fewest)
        kept, left = there, [(m, w - there * threads * m) for m, w in spare]
        for arrives, count in starting:
            short = max(
                (work / (moment - arrives) for moment, work in left if moment > arrives + 1e-9), default=0.0
            )
            needed = min(count, max(0, math.ceil(short / threads - 1e-9)))
            kept += needed
            left = [(m, w - needed * threads * max(0.0, m - arrives)) for m, w in left]
            if needed < count:
                break
        return int(kept)

    def lean_servers(self) -> float:
        """What keeps the wait at its share of the promise: the load, and the backlog's distance from there."""
        inputs, span = self._inputs, self.startup + self.patience
        waiting = sum(count for _, count in inputs["backlog"])
        rate = inputs["arrival_rate"]
        work = waiting + rate * (span - LEAN_WAIT_SHARE * self.patience)
        return float(work * self.service_time / span)

    def time_to_breach(self) -> float | None:
        """Seconds until a job misses the promise with the workers there and starting; None: none in sight."""
        oldest = self._inputs["oldest_age"]
        if oldest is not None and oldest > self._settings.sla_seconds:
            return 0.0
        for moment in self._moments:
            if self.due(moment, self.promise) > self.served(moment) + 0.5 * self.service_time:
                return moment
        return None


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
    least, most, before = settings.min_workers, settings.max_workers, inputs["desired_before"]
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
        why += f"; {workers} are wanted, {bound} allows {most}"
    elif desired < least:
        desired = least
        why += f"; min_workers keeps {least}"
    steps["desired_workers"] = desired
    return Answer(desired, workers, servers, regime, why + ".", breach, steps)


def _why_steady(
    settings: ScalingSettings, inputs: Mapping[str, Any], steps: Mapping[str, float], ready_for: float
) -> str:
    promise = f"{settings.percentile:g} % within {_span(settings.sla_seconds)}"
    if steps["headroom_servers"] <= steps["steady_servers"]:
        return (
            f"{inputs['arrival_rate']:.3g} jobs/s of {_span(inputs['service_time'])} need"
            f" {steps['steady_servers']:g} threads for {promise}"
        )
    return (
        f"{inputs['arrival_rate']:.3g} jobs/s come, but surprises were such that only readiness for {ready_for:.3g}/s"
        f" (the {inputs['headroom_of']} × {inputs['margin'] * inputs['guard']:.3g}) keeps {promise}:"
        f" {steps['headroom_servers']:g} threads"
    )


def _why_lean(inputs: Mapping[str, Any], view: _Outlook, load: float) -> str:
    return (
        f"{inputs['arrival_rate']:.3g} jobs/s of {_span(inputs['service_time'])} keep {load:.3g} threads busy; jobs may"
        f" wait {_span(view.patience)}, longer than a worker needs to start, so the queue absorbs the rest"
    )


def _why_backlog(settings: ScalingSettings, inputs: Mapping[str, Any], workers: int, view: _Outlook) -> str:
    waiting = sum(count for _, count in inputs["backlog"])
    there = inputs["workers"] + sum(count for _, count in inputs["starting"])
    return (
        f"{waiting:g} jobs wait and {inputs['backlog_rate']:.3g}/s come: for all to start within {_span(view.patience)}"
        f" of being ready it takes {workers} workers ({there} are there or starting)"
    )


def _span(seconds: float) -> str:
    """A duration for a sentence.

    >>> _span(0.0123), _span(1.0), _span(90.0), _span(7200.0)
    ('12 ms', '1 s', '90 s', '2 h')
    """
    if seconds < 0.0995:
        return f"{seconds * 1000:.2g} ms"
    if seconds < 600:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def grouped(times: Sequence[float]) -> list[list[float]]:
    """Equal times together, as [seconds, how many].

    >>> grouped([1.0, 1.0, 4.0])
    [[1.0, 2], [4.0, 1]]
    """
    found: list[list[float]] = []
    for each in times:
        if found and abs(found[-1][0] - each) < 1e-9:
            found[-1][1] += 1
        else:
            found.append([each, 1])
    return found


#: What `Decision.inputs` holds: name, unit, meaning. `littleq explain` prints it.
INPUTS: Final[Mapping[str, tuple[str, str]]] = {
    "arrival_rate": ("jobs/s", "λ forecast for now + start-up time, retries included, refused jobs too"),
    "forecast_error": ("jobs/s", "standard error of such forecasts lately"),
    "backlog_rate": (
        "jobs/s",
        "rate at which jobs join the backlog: the forecast, or a surge that it does not explain",
    ),
    "headroom_of": ("", "forecast that headroom is measured from"),
    "headroom_rate": ("jobs/s", "what that forecast says"),
    "margin": ("×", "multiple of it that would have kept the promise at least cost"),
    "misses_expected": ("share", "of the jobs that would have missed with that headroom"),
    "guard": ("×", "correction by the misses that really happened"),
    "dispersion": ("", "variance over mean of the counts by interval; 1 for Poisson arrivals"),
    "service_time": ("s", "S, mean service time"),
    "service_scv": ("", "squared coefficient of variation of S"),
    "backlog": ("s, jobs", "jobs that wait, by age"),
    "scheduled": ("s, jobs", "delayed jobs and retries, by the time until they are due"),
    "oldest_age": ("s", "how long the oldest job has waited"),
    "workers": ("", "worker processes that take jobs"),
    "starting": ("s, workers", "workers asked for, by the time until they take jobs"),
    "startup_seconds": ("s", "start-up time of a worker, as learned"),
    "desired_before": ("workers", "the last decision"),
    "standing_workers": ("workers", "what a decision that changes nothing keeps"),
    "held": ("s, workers", "what was wanted within the last start-up time, by age"),
    "lean": ("", "the promise is longer than a start-up, so the queue may absorb"),
    "young": ("", "too little history to send workers away"),
    "idle_for": ("s", "nothing came and nothing waited, long enough to send all away"),
    "halted": ("", "paused, or its breaker is open"),
    "blind": ("", "what is missing or too old"),
}
