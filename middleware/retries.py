"""Schedules failed jobs again, and never loses one doing so."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from dramatiq.errors import BrokerConnectionError, Retry
from dramatiq.middleware import Retries
from dramatiq.middleware.retries import DEFAULT_MAX_BACKOFF
from dramatiq.middleware.threading import Interrupt

from littleq import job, tracebacks
from littleq.clock import SYSTEM_CLOCK, Clock
from littleq.errors import ValidationError
from littleq.ledger import fields
from littleq.middleware.overloaded import Overloaded
from littleq.passage import rescheduling
from littleq.policies import retry as policy

if TYPE_CHECKING:
    from dramatiq import Actor, Broker
    from dramatiq.broker import MessageProxy

    from littleq.config import Config, SLAQueueConfig
    from littleq.ledger.recorder import Recorder

#: Pause before a failed re-enqueue is tried again, in seconds. Dramatiq waits 5 s before it repeats a
#: failed ack; a job that is due again soon should not wait that long.
RESCHEDULE_PAUSE_SECONDS = 1.0


class ExponentialRetries(Retries):
    """Replaces Dramatiq's `Retries`: same options, more jitter, no lost job.

    A queue that is not configured keeps the schedule of the `Retries` that stood here before, and has no retries
    where the app had left them out.

    Options, message before actor before queue before default; backoffs in milliseconds, as in Dramatiq:
    `max_retries`, `min_backoff`, `max_backoff`, `jitter` (`full`, `equal`, `decorrelated`), `retry_when`, `throws`,
    `on_retry_exhausted`, and `retry_routes`: exception name or class to `retry`, `dead` or `skip`.

    Dramatiq swallows what an `after_*` hook raises and acks the message, so a retry whose enqueue fails is gone
    (Bogdanp/dramatiq#545). Here a broker that is away is waited for, as Dramatiq waits for its ack; this
    worker thread could do nothing else. If the process dies meanwhile the job was never acked and comes
    back. Any other failure dead-letters the job with reason `unretryable`. Whatever goes wrong, the job is
    somewhere: fail-closed.
    """

    def __init__(
        self,
        *,
        config: Config,
        recorder: Recorder,
        is_transient: Callable[[BaseException], bool] = lambda _error: False,
        replaces: Retries | None = None,
        clock: Clock = SYSTEM_CLOCK,
        rng: random.Random | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        settings = replaces or Retries()
        super().__init__(
            max_retries=settings.max_retries,
            min_backoff=settings.min_backoff,
            max_backoff=settings.max_backoff,
            retry_when=settings.retry_when,
        )
        self.config = config
        self.recorder = recorder
        self.is_transient = is_transient
        self.replaces = replaces
        self.clock = clock
        self.rng = rng or random.SystemRandom()  # forked workers must not share a sequence
        self.pause = pause
        self._budgets: dict[str, policy.RetryBudget] = {}

    @property
    def actor_options(self) -> set[str]:
        return {*super().actor_options, "jitter", "retry_routes"}

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        if not message.options.get("retries"):
            self._budget(message.queue_name).first_attempt(self.clock.monotonic())

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        if exception is None or (self.replaces is None and not self._is_configured(message.queue_name)):
            return
        try:
            self._after_failure(broker, message, exception)
        except BaseException as error:  # a time limit's interrupt too
            # What is raised here is swallowed and the job acked: fail it instead, so that it is kept.
            self.logger.exception("Message %r could not be retried: it is dead-lettered.", message.message_id)
            self.recorder.error("retry", message.queue_name)
            job.note(message, death="unretryable")
            message.fail()
            if not isinstance(error, Exception):
                raise

    def _after_failure(self, broker: Broker, message: MessageProxy, exception: BaseException) -> None:
        actor = broker.get_actor(message.actor_name)
        retries = int(message.options.get("retries") or 0)
        job.note(message, attempts=retries + 1)
        throws = message.options.get("throws") or actor.options.get("throws")
        if throws and isinstance(exception, throws):
            self.logger.info("Aborting message %r.", message.message_id)
            job.note(message, death="refused")
            message.fail()
            return

        message.options["retries"] = retries + 1
        message.options["traceback"] = tracebacks.formatted(exception, 30)
        message.options["requeue_timestamp"] = int(self.clock.now() * 1000)

        decision, max_retries = self._decide(message, actor, exception, retries)
        if decision.route == "skip":
            self.logger.info(
                "Skipping message %r: %s is routed so.", message.message_id, type(exception).__name__
            )
            job.note(message, skipped=True)
            self.recorder.count(message.queue_name, fields.SKIPPED)
        elif decision.route == "dead":
            self.logger.warning("Retries exceeded for message %r.", message.message_id)
            job.note(message, death=decision.reason)
            message.fail()
            self._tell_exhausted(broker, message, actor, retries, max_retries)
        else:
            self._reschedule(broker, message, exception, decision.wait)

    def _decide(
        self, message: MessageProxy, actor: Actor[Any, Any], exception: BaseException, retries: int
    ) -> tuple[policy.RetryDecision, int | None]:
        queue = self.config.queue(message.queue_name)
        option = _Ladder(message, actor)
        max_retries = option.get("max_retries", self._default(queue, "max_retries", queue.max_retries))
        retry_when = actor.options.get("retry_when", self.retry_when)
        if retry_when is not None:  # takes precedence over max_retries, as in Dramatiq
            max_retries = None if retry_when(retries, exception) else 0
        decision = policy.decide(
            self._backoff(queue, option),
            retries=retries,
            max_retries=max_retries,
            route=policy.route_for(exception, _routes(option.get("retry_routes", queue.retry_routes))),
            last_wait=job.read(message.options).get("backoff"),
            rng=self.rng,
        )
        return decision, max_retries

    def _backoff(self, queue: SLAQueueConfig, option: _Ladder) -> policy.Backoff:
        minimum = option.get(
            "min_backoff", self._default(queue, "min_backoff", queue.min_backoff_seconds * 1000)
        )
        maximum = option.get(
            "max_backoff", self._default(queue, "max_backoff", queue.max_backoff_seconds * 1000)
        )
        maximum = max(0, min(maximum, DEFAULT_MAX_BACKOFF))
        return policy.Backoff(
            minimum=max(0, min(minimum, maximum)) / 1000,
            maximum=maximum / 1000,
            jitter=option.get("jitter", queue.jitter if self._is_configured(queue.name) else "dramatiq"),
        )

    def _default(self, queue: SLAQueueConfig, name: str, configured: Any) -> Any:
        """A configured queue's own value; else that of the `Retries` that stood here."""
        return configured if self._is_configured(queue.name) else getattr(self, name)

    def _is_configured(self, queue_name: str) -> bool:
        return queue_name in self.config.queues

    def _reschedule(
        self, broker: Broker, message: MessageProxy, exception: BaseException, wait: float
    ) -> None:
        if self._is_configured(message.queue_name):
            wait *= self._budget(message.queue_name).stretch(self.clock.monotonic())
        if isinstance(exception, Retry) and exception.delay is not None:
            wait = exception.delay / 1000
        elif isinstance(exception, Overloaded):  # the job sends to a full queue: no use before it has room
            wait = max(wait, exception.retry_after)
        job.write(message.options, backoff=wait)
        delay = max(0, round(wait * 1000))
        while True:
            try:
                with rescheduling(message):
                    broker.enqueue(message, delay=delay)  # type: ignore[arg-type]  # as Dramatiq does
            except Exception as error:
                if not isinstance(error, (BrokerConnectionError, OSError)) and not self.is_transient(error):
                    raise
                self.recorder.error("retry_enqueue", message.queue_name)
                self.logger.warning(
                    "Message %r could not be scheduled for its retry (%s); trying again in %.1f s.",
                    message.message_id,
                    type(error).__name__,
                    RESCHEDULE_PAUSE_SECONDS,
                )
                self._wait()
            except Interrupt:
                # A time limit or a shutdown meant the actor, which has ended: the retry is still due. Where the
                # enqueue got through, the next one finds the job's place taken and does nothing.
                self.logger.warning(
                    "Message %r: interrupted while its retry is scheduled; goes on.", message.message_id
                )
            else:
                break
        job.note(message, rescheduled=True)
        self.logger.info("Retrying message %r in %d milliseconds.", message.message_id, delay)
        self.recorder.count(message.queue_name, fields.RETRIED)

    def _wait(self) -> None:
        with suppress(Interrupt):  # see `_reschedule`
            self.pause(RESCHEDULE_PAUSE_SECONDS)

    def _tell_exhausted(
        self,
        broker: Broker,
        message: MessageProxy,
        actor: Actor[Any, Any],
        retries: int,
        max_retries: int | None,
    ) -> None:
        target = message.options.get("on_retry_exhausted") or actor.options.get("on_retry_exhausted")
        if target:
            broker.get_actor(target).send(message.asdict(), {"retries": retries, "max_retries": max_retries})

    def _budget(self, queue_name: str) -> policy.RetryBudget:
        budget = self._budgets.get(queue_name)
        if budget is None:
            budget = self._budgets[queue_name] = policy.RetryBudget(
                self.config.queue(queue_name).retry_budget
            )
        return budget


class _Ladder:
    """An option of the message, or else of the actor."""

    def __init__(self, message: MessageProxy, actor: Actor[Any, Any]) -> None:
        self._message = message.options
        self._actor = actor.options

    def get(self, name: str, default: Any) -> Any:
        return self._message.get(name, self._actor.get(name, default))


def _routes(routes: Any) -> dict[str, policy.Route]:
    """Routes by class name; an actor may name the class itself."""
    named: dict[str, policy.Route] = {}
    for exception, route in dict(routes).items():
        name = exception if isinstance(exception, str) else f"{exception.__module__}.{exception.__qualname__}"
        if route not in ("retry", "dead", "skip"):
            raise ValidationError(f"retry_routes sends {name} to {route!r}: choose retry, dead or skip.")
        named[name] = route
    return named
