"""What a user can set: one frozen `SLAQueueConfig` per queue and one `Config` per process.

Values are checked when they are made, strictly: text is not a number, nor is `True`. A wrong one raises
`ConfigurationError` in one sentence. Where they may come from, and which source wins, is the subject of
`littleq.config.sources`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import field
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from pydantic.functional_validators import ModelWrapValidatorHandler
from pydantic_core import ArgsKwargs

from littleq.config.contradictions import config_contradictions, queue_contradictions
from littleq.config.kinds import (
    BrokerURL,
    ExceptionName,
    FrozenDict,
    LedgerURL,
    PositiveInt,
    QueueName,
    Seconds,
    Share,
    Token,
)
from littleq.config.messages import InvalidSettings, problems_in, setting_names, show
from littleq.redaction import HIDDEN, SECRET_SETTINGS, redact_url

AdmissionMode = Literal["contract", "capacity", "off"]
Criticality = Literal["critical", "default", "sheddable"]
Jitter = Literal["full", "equal", "decorrelated"]
OnOverload = Literal["shed", "defer", "divert"]
SLAOn = Literal["wait", "sojourn"]
Route = Literal["retry", "dead", "skip"]

#: Dramatiq's own defaults, kept so that installing LittleQ changes no schedule by itself.
DEFAULT_MAX_RETRIES = 20
DEFAULT_MIN_BACKOFF_SECONDS = 15.0
DEFAULT_MAX_BACKOFF_SECONDS = 7 * 86400.0

#: Somewhat arbitrary: a deploy or a node that is evicted kills a job's worker once or twice, a job that kills
#: its workers does it every time. Users of SQS choose 3 to 10.
DEFAULT_MAX_DELIVERIES = 5

#: Long enough for a garbage collection or a slow failover, short enough for a promise of seconds.
DEFAULT_HEARTBEAT_TIMEOUT_SECONDS = 15.0

#: Dramatiq's own default of `--threads`.
DEFAULT_THREADS_PER_WORKER = 8

#: Somewhat arbitrary: a pod whose image is there already takes 10 to 60 s, a process on this machine one or two.
DEFAULT_STARTUP_SECONDS = 30.0

#: The whole limit for everything but `sheddable`: L = λ × SLA then means what it says for a user who
#: never heard of criticality. Lower `default` to keep room for `critical`.
DEFAULT_CRITICALITY_SHARES: Mapping[Criticality, float] = {
    "critical": 1.0,
    "default": 1.0,
    "sheddable": 0.5,
}

_STRICT = ConfigDict(extra="forbid", validate_default=True, strict=True)


Shares = Annotated[Mapping[Criticality, Share], AfterValidator(FrozenDict)]
Routes = Annotated[Mapping[ExceptionName, Route], AfterValidator(FrozenDict)]


@dataclass(frozen=True, config=_STRICT)
class SLAQueueConfig:
    """The service level of one queue, and how it is kept.

    Args:
        name: the Dramatiq queue.
        arrival_rate: declared λ, first-time sends per second; > 0. Needed by admission `contract`.
        sla_seconds: the promise: a job waits (or, with `sla_on="sojourn"`, is done) within it; > 0.
        jobs_per_worker: jobs that one worker process can hold within the SLA, running and waiting; used
            until a service time has been measured; >= 1.
        scale_threshold: share of the SLA that jobs may wait by plan, the rest is reserve: less means more
            workers; (0, 1].
        max_retries: attempts after the first, before a failing job is dead-lettered; >= 0.
        percentile: share of jobs that the promise covers, in percent; [1, 100).
        sla_on: `wait` (ready to start) or `sojourn` (ready to done).
        admission: `contract` limits the queue to λ_declared × SLA, `capacity` to what the live workers can
            start within the SLA, `off` to nothing. Default: `contract` where `arrival_rate` is set, else
            `capacity`.
        on_overload: `shed` raises `Overloaded`, `defer` enqueues with a delay, `divert` sends to `divert_to`.
        divert_to: the queue that takes what `divert` refuses.
        criticality_shares: share of the limit open to `critical`, `default` and `sheddable` messages.
        jitter: how retries are spread: `full`, `equal` or `decorrelated`.
        min_backoff_seconds, max_backoff_seconds: bounds of the backoff, before jitter; > 0.
        retry_budget: retries per first attempt that keep their backoff; beyond it they wait longer; >= 0.
        retry_routes: exception name (`TimeoutError`, `package.module.Error`) to `retry`, `dead` or `skip`.
        max_deliveries: a job whose workers died that many times is dead-lettered as `poison` instead of
            delivered again; >= 1.
        dead_retention_seconds: how long a dead letter is kept; > 0; None: until it is purged.
        concurrency: most jobs of this queue that one process runs or holds at a time; None: no bound.
        concurrency_global: the same of the whole fleet, running or prefetched; >= `concurrency`; None: no
            bound. Enforced where jobs are fetched, by LittleQ's RedisBroker.
        min_workers, max_workers: bounds of the fleet, in worker processes.
        service_time_seconds: a hint for S, used until it has been measured; > 0.
        threads_per_worker: jobs that one worker process runs at a time; >= 1.
        startup_seconds: a hint for the time from "asked for" until a worker takes jobs, used until it has been
            learned; >= 0.
        max_step_up, max_step_down: most worker processes that one decision adds or takes away; None: any number.
        autoscale: whether decisions are made about this queue.

    Raises:
        ConfigurationError: a value is of the wrong type or out of range.

    >>> SLAQueueConfig("realtime", arrival_rate=20, sla_seconds=1).admission_mode
    'contract'
    """

    name: QueueName
    arrival_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    sla_seconds: Seconds = 60.0
    jobs_per_worker: PositiveInt = 8
    scale_threshold: Share = 0.8
    max_retries: Annotated[int, Field(ge=0)] = DEFAULT_MAX_RETRIES
    percentile: Annotated[float, Field(ge=1, lt=100, allow_inf_nan=False)] = 99.0
    sla_on: SLAOn = "wait"
    admission: AdmissionMode | None = None
    on_overload: OnOverload = "shed"
    divert_to: QueueName | None = None
    criticality_shares: Shares = field(default_factory=FrozenDict)
    jitter: Jitter = "full"
    min_backoff_seconds: Seconds = DEFAULT_MIN_BACKOFF_SECONDS
    max_backoff_seconds: Seconds = DEFAULT_MAX_BACKOFF_SECONDS
    retry_budget: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1
    retry_routes: Routes = field(default_factory=FrozenDict)
    max_deliveries: PositiveInt = DEFAULT_MAX_DELIVERIES
    dead_retention_seconds: Seconds | None = None
    concurrency: PositiveInt | None = None
    concurrency_global: PositiveInt | None = None
    min_workers: Annotated[int, Field(ge=0)] = 0
    max_workers: PositiveInt = 10
    service_time_seconds: Seconds | None = None
    threads_per_worker: PositiveInt = DEFAULT_THREADS_PER_WORKER
    startup_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = DEFAULT_STARTUP_SECONDS
    max_step_up: PositiveInt | None = None
    max_step_down: PositiveInt | None = None
    autoscale: bool = True

    #: Names of the settings that were given; a lower source may set the others.
    given: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="wrap")
    @classmethod
    def _checked(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(values, ArgsKwargs):  # inside a Config, which reports it as its own
            return handler(values)
        given = dict(zip(setting_names(cls), values.args, strict=False)) | (values.kwargs or {})
        place = f"SLAQueueConfig({show(given['name'])})" if "name" in given else "SLAQueueConfig"
        try:
            made = handler(values)
        except ValidationError as error:
            raise InvalidSettings.at(place, problems_in(error, cls)) from None
        object.__setattr__(made, "given", frozenset(given))
        if problems := list(queue_contradictions(made)):
            raise InvalidSettings.at(place, problems)
        return made

    @property
    def admission_mode(self) -> AdmissionMode:
        """The mode in force: `admission`, or the one that the other settings imply."""
        if self.admission is not None:
            return self.admission
        return "contract" if self.arrival_rate is not None else "capacity"

    def criticality_share(self, criticality: Criticality) -> float:
        """Share of the queue limit open to messages of this criticality, in (0, 1]."""
        return self.criticality_shares.get(criticality, DEFAULT_CRITICALITY_SHARES[criticality])


Queues = Annotated[
    Mapping[QueueName, SLAQueueConfig],
    AfterValidator(FrozenDict),
    Field(description="a table from queue names to SLAQueueConfig"),
]


@dataclass(frozen=True, config=_STRICT)
class Config:
    """Everything one process needs to know.

    Args:
        url: the broker: `embedded://`, `redis://…`, `rediss://…`, `valkey://…`, `valkeys://…`, `unix://…`,
            `redis+unix://…`, `valkey+unix://…`, `redis+sentinel://…`, `valkey+sentinel://…`, `amqp://…`, `amqps://…`,
            `sqs://…`, `kafka://…` or `stub://`.
        ledger_url: where all processes keep their counts: a Redis or Valkey server, by any of these URLs, or
            `memory://`; default: the broker's server where it is one, else the memory of each process.
        namespace: prefix of all keys, as in `RedisBroker(namespace=…)`.
        queues: service level by queue name. A queue that is not named here is timed and retried, but
            never refuses a job.
        flush_seconds: how often a process sends its counts to the ledger; > 0.
        sample_seconds: how old a sampled queue depth may be when a send is judged; > 0.
        heartbeat_timeout_seconds: a worker not heard of for this long is dead, and what it held goes back to
            the head of its queue; >= 1.
        exporter_enabled, exporter_host, exporter_port: the metrics endpoint that `dramatiq` starts as a fork.
        exporter_token: a secret that the JSON API of that endpoint asks for; None: it asks for none.
        decide_seconds: between two scaling decisions; >= 1.
        control_queue: the queue that carries the scaling decisions. It needs a worker of its own, and is neither
            scaled nor bounded.
        pod_deletion_cost: the controller tells Kubernetes which worker pods run what, so that idle ones go first.
        pod_namespace: where those pods are; default: where the controller runs.
    """

    url: BrokerURL = "embedded://"
    ledger_url: LedgerURL | None = None
    namespace: Annotated[str, Field(min_length=1)] = "dramatiq"
    queues: Queues = field(default_factory=FrozenDict)
    flush_seconds: Seconds = 1.0
    sample_seconds: Seconds = 0.25
    heartbeat_timeout_seconds: Annotated[float, Field(ge=1, allow_inf_nan=False)] = (
        DEFAULT_HEARTBEAT_TIMEOUT_SECONDS
    )
    exporter_enabled: bool = True
    exporter_host: str = "127.0.0.1"
    exporter_port: Annotated[int, Field(ge=0, le=65535)] = 9191
    exporter_token: Token = None
    decide_seconds: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 5.0
    control_queue: QueueName = "littleq.control"
    pod_deletion_cost: bool = False
    pod_namespace: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="wrap")
    @classmethod
    def _checked(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            made = handler(values)
        except ValidationError as error:
            raise InvalidSettings.at("Config", problems_in(error, cls)) from None
        if problems := list(config_contradictions(made)):
            raise InvalidSettings.at("Config", problems)
        return made

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in setting_names(type(self))}
        for name in ("url", "ledger_url"):
            shown[name] = shown[name] and redact_url(shown[name])
        for name in SECRET_SETTINGS:
            shown[name] = shown[name] and HIDDEN
        return f"Config({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def queue(self, name: str) -> SLAQueueConfig:
        """The service level of a queue; one that is not configured never refuses a job."""
        try:
            return self._known[name]
        except KeyError:
            return self._known.setdefault(name, _unlimited(name))

    @cached_property
    def _known(self) -> dict[str, SLAQueueConfig]:
        """The configured queues, and those that were asked for since."""
        return dict(self.queues)


_UNLIMITED = SLAQueueConfig(name="default", admission="off")


def _unlimited(name: str) -> SLAQueueConfig:
    """The service level of a queue that nobody configured.

    Whatever its name: a broker may declare queues that no actor could, and a send must not fail for that.
    """
    made = copy.copy(_UNLIMITED)
    object.__setattr__(made, "name", name)
    return made
