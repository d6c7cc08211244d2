"""Who decides, by the name that the command line gives it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from littleq.errors import ValidationError
from littleq.policies.scaling import ScalingSettings, ScalingState, decide
from littleq.simulation.baselines import AwsBacklog, Horizon, HpaCpu, KedaList, Static
from littleq.simulation.engine import Policy, View
from littleq.simulation.quantities import number
from littleq.simulation.sizing import pool_for, warm_pool
from littleq.simulation.workload import Workload

#: In the order of their names on the command line; what stands behind the colon may be left out.
KNOWN = ("littleq", "hpa-cpu:70", "keda-list:5", "aws-backlog", "horizon", "static")


class LittleQ:
    """The product's policy, driven as its controller drives it: an observation and its own state in, a decision out."""

    def __init__(self, settings: ScalingSettings) -> None:
        self.name = "littleq"
        self.interval_seconds = settings.interval_seconds
        self._settings = settings
        self._state: ScalingState | None = None

    def workers(self, view: View) -> int:
        decision, self._state = decide(self._settings, view.observation, self._state)
        return decision.desired_workers


@dataclass(frozen=True, slots=True)
class Contestant:
    """A policy, and the pool that it begins with."""

    policy: Policy
    initial_workers: int


def contestant(
    text: str, workload: Workload, settings: ScalingSettings, *, initial_workers: int | None = None
) -> Contestant:
    """The policy that `text` names, such as `keda-list:5`, fresh for one run.

    Args:
        initial_workers: None: the pool that Erlang C wants at the rate of the first minute, as in a system that has
            been running; `static` begins with its own number.

    Raises:
        ValidationError: it names no policy, or gives it a number that it cannot have.
    """
    name, _, argument = text.strip().partition(":")
    build = _BUILDERS.get(name)
    if build is None:
        raise ValidationError(f"--policy: {text!r} is no policy: choose among {', '.join(KNOWN)}.")
    where = f"--policy {text!r}"
    policy = build(number(argument, where=where) if argument else None, workload, settings, where)
    policy.name = text.strip()
    if isinstance(policy, Static):
        return Contestant(policy, policy.size)
    if initial_workers is None:
        initial_workers = warm_pool(workload, settings)
    return Contestant(policy, initial_workers)


def _littleq(argument: float | None, _: Workload, settings: ScalingSettings, where: str) -> Policy:
    _no_argument(argument, where)
    return LittleQ(settings)


def _hpa_cpu(argument: float | None, _: Workload, settings: ScalingSettings, where: str) -> Policy:
    percent = 70.0 if argument is None else argument
    if not 0 < percent <= 100:
        raise ValidationError(f"{where}: give the target in percent of CPU, above 0 and up to 100.")
    return HpaCpu(settings, target=percent / 100)


def _keda_list(argument: float | None, _: Workload, settings: ScalingSettings, where: str) -> Policy:
    length = 5.0 if argument is None else argument
    if length <= 0:
        raise ValidationError(f"{where}: give the jobs per worker, above 0.")
    return KedaList(settings, list_length=length)


def _aws(argument: float | None, _: Workload, settings: ScalingSettings, where: str) -> Policy:
    _no_argument(argument, where)
    return AwsBacklog(settings)


def _horizon(argument: float | None, _: Workload, settings: ScalingSettings, where: str) -> Policy:
    _no_argument(argument, where)
    return Horizon(settings)


def _static(argument: float | None, workload: Workload, settings: ScalingSettings, where: str) -> Policy:
    if argument is None:
        return Static(settings, pool_for(workload.peak_rate(), workload, settings))
    if argument != int(argument) or not settings.min_workers <= argument <= settings.max_workers:
        raise ValidationError(
            f"{where}: give a whole number of workers from {settings.min_workers} to {settings.max_workers}."
        )
    return Static(settings, int(argument))


def _no_argument(argument: float | None, where: str) -> None:
    if argument is not None:
        raise ValidationError(f"{where}: this policy takes no number.")


_BUILDERS: dict[str, Callable[[float | None, Workload, ScalingSettings, str], Policy]] = {
    "littleq": _littleq,
    "hpa-cpu": _hpa_cpu,
    "keda-list": _keda_list,
    "aws-backlog": _aws,
    "horizon": _horizon,
    "static": _static,
}
