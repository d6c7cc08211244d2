"""Refuses the first sends that a queue could not start within its SLA."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from dramatiq import Middleware
from dramatiq.logging import get_logger

from littleq.clock import SYSTEM_CLOCK, Clock
from littleq.config import Criticality
from littleq.errors import ValidationError
from littleq.ledger import fields
from littleq.middleware.overloaded import Overloaded
from littleq.policies import admission as policy

if TYPE_CHECKING:
    from dramatiq import Broker, Message

    from littleq.config import Config, SLAQueueConfig
    from littleq.depth import DepthMeter
    from littleq.ledger.recorder import Recorder

CRITICALITIES: tuple[str, ...] = get_args(Criticality)

#: How long a capacity limit is used before it is computed from newer measurements, in seconds; they change
#: once a second.
LIMIT_SECONDS = 1.0
#: Deferred jobs are not judged again: due as fast as jobs leave, the least slowness would overfill the queue.
#: What they leave free goes to new sends, which are judged.
DEFERRED_SHARE = 0.8


class Ticket(NamedTuple):
    """Permission to enqueue.

    Attributes:
        asked: the queue that was sent to.
        queue: the queue that takes the job; another one if it was diverted.
        delay: in milliseconds; None: ready at once.
        outcome: how the job comes in.
        criticality: what it was judged as.
        jobs: how many are judged together.
        reserved: whether room for them is reserved on the depth meter.
        bound: most jobs that the queue may hold with them, for a broker that looks; None: it must let them in.
        overflow_delay: ms by which the broker delays a job that would pass the bound; None: it refuses it.
        refusal: why the queue that was sent to did not take them, where they are diverted.
    """

    asked: str
    queue: str
    delay: int | None
    outcome: policy.Outcome
    criticality: str
    jobs: int = 1
    reserved: bool = False
    bound: int | None = None
    overflow_delay: int | None = None
    refusal: policy.AdmissionDecision | None = None


class AdmissionControl(Middleware):
    """Judges first sends against the queue limit L.

    The gate around `broker.enqueue` asks `admit` before Dramatiq sees the message: a hook could refuse, but
    neither defer nor divert. Retries, due delayed jobs, follow-ups of a job and periodic messages (periodiq's
    scheduler would end) are never judged.

    Who holds the bound: a broker that does so itself, in the step that enqueues (`depth` is None then: `admit` says
    what the bound is, and `overflow` what to do when the broker finds the queue full); else a depth meter.

    Fails open: when judging itself fails (the broker's depth cannot be read, say), the job is let in as
    `bypassed` and the failure is counted. Only `Overloaded` and a wrong `criticality` reach the sender.
    """

    def __init__(
        self, *, config: Config, recorder: Recorder, depth: DepthMeter | None, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.logger = get_logger(__name__, type(self))
        self.config = config
        self.recorder = recorder
        self.depth = depth
        self.clock = clock
        self._limits: dict[str, tuple[float, policy.QueueLimit]] = {}
        self._deferred_until: dict[str, float] = {}
        self._looked_up: set[str] = set()

    @property
    def actor_options(self) -> set[str]:
        return {"criticality"}

    def after_declare_queue(self, broker: Broker, queue_name: str) -> None:
        """Publish what this queue promises, so that an exporter without the app's code knows it."""
        queue = self.config.queue(queue_name)
        settings: dict[str, float | str] = {
            "sla_seconds": queue.sla_seconds,
            "percentile": queue.percentile,
            "sla_on": queue.sla_on,
            "admission": queue.admission_mode,
        }
        if queue.arrival_rate is not None:
            settings["arrival_rate"] = queue.arrival_rate
        for bound in ("concurrency", "concurrency_global"):
            if (jobs := getattr(queue, bound)) is not None:
                settings[bound] = jobs
        if queue.admission_mode == "contract":
            settings["queue_limit"] = self.limit(queue).jobs
        self.recorder.declare(queue_name, settings)
        if queue.divert_to is not None:
            broker.declare_queue(queue.divert_to)

    def bypass(self, broker: Broker, message: Message[Any], delay: int | None, jobs: int = 1) -> Ticket:
        """Let a message in unjudged."""
        criticality = _criticality(message, _actor_options(broker, message))
        known = criticality if criticality in CRITICALITIES else "default"  # too late to refuse a wrong one
        return _bypass(message.queue_name, delay, known, jobs)

    def admit(self, broker: Broker, message: Message[Any], delay: int | None, jobs: int = 1) -> Ticket:
        """Judge the first send of `message`, or of `jobs` messages like it that stand or fall together.

        Raises:
            Overloaded: the queue is full and sheds.
            ValidationError: the criticality is none of critical, default, sheddable.
        """
        options = _actor_options(broker, message)
        name = message.queue_name
        queue = self.config.queue(name)
        if queue.admission_mode == "off" or "scheduled_at" in message.options or "periodic" in options:
            return self.bypass(broker, message, delay, jobs)
        criticality = _criticality(message, options)
        if criticality not in CRITICALITIES:
            raise ValidationError(
                f"criticality is {criticality!r}: choose {', '.join(CRITICALITIES[:-1])} or {CRITICALITIES[-1]}."
            )
        ticket = Ticket(name, name, delay, "admitted", criticality, jobs)
        try:
            if self.depth is None:
                return self._bounded(queue, ticket)
            decision = self._judge(self.depth, queue, criticality, jobs)
            if decision.admitted:  # a broker with a bound of its own is told, too: a sample may be old
                return ticket._replace(reserved=True, bound=decision.limit)
            return self._overloaded(queue, decision, ticket)
        except Overloaded:
            raise
        except Exception as error:
            self.logger.warning("Admission to queue %r failed open: %s.", name, type(error).__name__)
            self.recorder.error("admission", name)
            return _bypass(name, delay, criticality, jobs)

    def overflow(self, ticket: Ticket, depth: int) -> Ticket:
        """The broker found the ticket's queue full, with `depth` jobs: what to do instead.

        Raises:
            Overloaded: there is nothing else to do.
        """
        if ticket.refusal is not None:  # the queue that it was diverted to is full too
            raise self._shed(ticket, ticket.refusal)
        queue = self.config.queue(ticket.asked)
        decision = policy.judge(
            self.limit(queue),
            number_in_system=depth,
            share=queue.criticality_share(ticket.criticality),  # type: ignore[arg-type]
            jobs=ticket.jobs,
        )
        if decision.admitted:  # the limit was raised at this very moment
            decision = decision._replace(admitted=False, retry_after=policy.MIN_RETRY_AFTER_SECONDS)
        return self._overloaded(
            queue, decision, ticket._replace(bound=None, overflow_delay=None, reserved=False)
        )

    def deferred(self, ticket: Ticket) -> Ticket:
        """The broker has delayed the job, by the ticket's `overflow_delay`."""
        if ticket.overflow_delay is not None:
            self._deferred_until[ticket.queue] = self.clock.monotonic() + ticket.overflow_delay / 1000
        return ticket._replace(outcome="deferred")

    def settle(self, ticket: Ticket, *, entered: bool) -> None:
        """Report how the enqueue behind a ticket ended. A send that failed was offered to nobody: it is not counted."""
        if ticket.reserved and self.depth is not None:
            self.depth.settle(ticket.queue, ticket.jobs, entered=entered)
        if entered:
            self._count(ticket.asked, ticket.outcome, ticket.criticality, ticket.jobs)
            if ticket.queue != ticket.asked:
                self._count(ticket.queue, "admitted", ticket.criticality, ticket.jobs)

    def limit(self, queue: SLAQueueConfig) -> policy.QueueLimit:
        """The queue's limit in force, at most `LIMIT_SECONDS` old."""
        cached = self._limits.get(queue.name)
        now = self.clock.monotonic()
        if cached is not None and (queue.admission_mode == "contract" or now - cached[0] < LIMIT_SECONDS):
            return cached[1]
        limit = self._contract(queue) if queue.admission_mode == "contract" else self._capacity(queue)
        self._limits[queue.name] = (now, limit)
        return limit

    def _bounded(self, queue: SLAQueueConfig, ticket: Ticket) -> Ticket:
        """The ticket with the bound that the broker is to hold, and the delay of a single job that finds no room."""
        limit = self.limit(queue)
        share = queue.criticality_share(ticket.criticality)  # type: ignore[arg-type]
        overflow_delay = None
        if queue.on_overload == "defer" and ticket.jobs == 1 and queue.name == ticket.asked:
            wait = self._turn(queue, policy.MIN_RETRY_AFTER_SECONDS, 1)
            overflow_delay = max(ticket.delay or 0, round(wait * 1000))
        return ticket._replace(bound=policy.open_to(limit, share), overflow_delay=overflow_delay)

    def _judge(
        self, depth: DepthMeter, queue: SLAQueueConfig, criticality: str, jobs: int
    ) -> policy.AdmissionDecision:
        limit = self.limit(queue)
        share = queue.criticality_share(criticality)  # type: ignore[arg-type]

        def decide(number_in_system: int) -> tuple[bool, policy.AdmissionDecision]:
            decision = policy.judge(limit, number_in_system=number_in_system, share=share, jobs=jobs)
            return decision.admitted, decision

        return depth.take(queue.name, jobs, decide)

    def _overloaded(self, queue: SLAQueueConfig, decision: policy.AdmissionDecision, asked: Ticket) -> Ticket:
        if queue.on_overload == "defer":
            wait = self._turn(queue, decision.retry_after, asked.jobs)
            self._deferred_until[queue.name] = self.clock.monotonic() + wait
            return asked._replace(delay=max(asked.delay or 0, round(wait * 1000)), outcome="deferred")
        if queue.on_overload == "divert" and queue.divert_to is not None:
            target = self.config.queue(queue.divert_to)
            diverted = asked._replace(queue=target.name, outcome="diverted", refusal=decision)
            if target.admission_mode == "off":
                return diverted
            if self.depth is None:
                return self._bounded(target, diverted)
            found = self._judge(self.depth, target, asked.criticality, asked.jobs)
            if found.admitted:
                return diverted._replace(reserved=True, bound=found.limit)
        raise self._shed(asked, decision)

    def _shed(self, asked: Ticket, decision: policy.AdmissionDecision) -> Overloaded:
        self._count(asked.asked, "shed", asked.criticality, asked.jobs)
        return Overloaded(
            asked.asked,
            depth=decision.depth,
            limit=decision.limit,
            retry_after=decision.retry_after,
            jobs=asked.jobs,
        )

    def _turn(self, queue: SLAQueueConfig, retry_after: float, jobs: int) -> float:
        """Seconds until the turn of jobs to be deferred: they line up, or all would come back at the same moment."""
        behind = self._deferred_until.get(queue.name, 0.0) - self.clock.monotonic()
        return max(retry_after, behind + jobs / (DEFERRED_SHARE * self.limit(queue).departure_rate))

    def _contract(self, queue: SLAQueueConfig) -> policy.QueueLimit:
        if queue.arrival_rate is None:  # the configuration refuses this
            raise ValidationError(
                f"queue {queue.name!r} has no arrival_rate: set one, or admission to capacity."
            )
        return policy.contract_limit(queue.arrival_rate, queue.sla_seconds)

    def _capacity(self, queue: SLAQueueConfig) -> policy.QueueLimit:
        fleet = self.recorder.fleet(queue.name)
        if fleet is None and queue.name not in self._looked_up:
            # A fresh process knows nothing of the fleet, and its first sends may be its only ones.
            self._looked_up.add(queue.name)
            fleet = self.recorder.look(queue.name)
        measured = None
        if fleet is not None and fleet.service_time is not None:
            measured = max(fleet.service_time, fleet.occupancy_time or 0.0)
        limit = policy.capacity_limit(
            servers=fleet.servers if fleet is not None else 0,
            service_time=measured or queue.service_time_seconds,
            service_scv=fleet.service_scv if fleet is not None else None,
            sla_seconds=queue.sla_seconds,
            percentile=queue.percentile,
            sojourn=queue.sla_on == "sojourn",
            worker_processes=fleet.worker_processes if fleet is not None else 0,
            jobs_per_worker=queue.jobs_per_worker,
        )
        if fleet is not None:
            self.recorder.declare(queue.name, {"queue_limit": limit.jobs + limit.servers})
        return limit

    def _count(self, queue: str, outcome: str, criticality: str, jobs: int) -> None:
        self.recorder.add(queue, _counts(outcome, criticality, jobs))


@lru_cache(maxsize=256)
def _counts(outcome: str, criticality: str, jobs: int) -> tuple[tuple[str, float], ...]:
    return (fields.qualified(fields.OFFERED, criticality), jobs), (
        fields.qualified(outcome, criticality),
        jobs,
    )


def _bypass(queue: str, delay: int | None, criticality: str, jobs: int) -> Ticket:
    return Ticket(queue, queue, delay, "bypassed", criticality, jobs)


def _actor_options(broker: Broker, message: Message[Any]) -> dict[str, Any]:
    """Empty where this process only sends and does not know the actor."""
    actor = broker.actors.get(message.actor_name)
    return actor.options if actor is not None else {}


def _criticality(message: Message[Any], actor_options: dict[str, Any]) -> str:
    """The message's own, else the actor's, else `default`."""
    found = message.options.get("criticality") or actor_options.get("criticality") or "default"
    return str(found)
