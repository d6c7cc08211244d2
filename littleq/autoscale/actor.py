"""The periodic actor: scaling decisions by Dramatiq's own means, for any app.

    import dramatiq, littleq
    from littleq.autoscale.actor import declare_scaling_actor

    broker = littleq.setup()
    declare_scaling_actor(broker)

    periodiq ── each minute ──> control queue ──> begin ── decide
                                      ▲             │
                                      └── ticks ────┘  for the rest of the minute, one each `decide_seconds`, delayed

Cron has a grain of one minute. So each minute's message sends the ticks of that minute, and no tick sends another:
there is no chain that could break or multiply. A worker that is killed takes one tick along, and it comes back with
the next worker; what an outage swallows, the next minute starts again. Two schedulers, or a message that is delivered
twice, make more ticks than are needed; the controller decides once an interval, whoever asks (lease), and the
others find nothing to do.

The control queue wants a worker of its own (`littleq controller` runs one): behind the jobs of a queue in trouble the
decision that saves it would come too late. It must not be bounded, for periodiq's scheduler ends when a send is
refused.
Nothing raises here: a tick that fails is logged, not retried and not dead-lettered, since the next one knows more.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import dramatiq
import periodiq

from littleq.clock import SYSTEM_CLOCK, Clock
from littleq.config.sources import load_config
from littleq.errors import ConfigurationError, LittleQError

if TYPE_CHECKING:
    from dramatiq import Actor, Broker

    from littleq.config import Config

logger = logging.getLogger(__name__)

#: Names of the two actors.
BEGIN, TICK = "littleq_scaling", "littleq_scaling_tick"
MINUTE_SECONDS = 60.0
#: A tick that comes later than this has nothing to say, in seconds: as long as periodiq lets its own messages wait.
LATE_SECONDS = 30.0
#: A decision that takes so long hangs, in milliseconds.
TIME_LIMIT_MS = 60_000
#: Before the jobs of other actors, in a worker that serves them as well: Dramatiq takes the lowest first.
PRIORITY = -100


class Decides(Protocol):
    """A controller, as far as the actor needs one."""

    def tick(self) -> Any:
        """Decide for all queues, unless somebody has just done so."""
        ...

    def close(self) -> None:
        """Give back the right to decide, so that another one goes on at once."""
        ...


def dues(now: float, interval: float) -> list[float]:
    """The delays of the ticks for the rest of a minute, in seconds.

    Args:
        now: wall time, s since the epoch.
        interval: between two decisions, > 0.

    Returns:
        Multiples of the interval; the last one leaves half an interval to the next minute, whose own message decides.

    >>> dues(120.0, 15.0), dues(172.0, 5.0), dues(120.0, 60.0)
    ([15.0, 30.0, 45.0], [5.0], [])
    """
    left = MINUTE_SECONDS - now % MINUTE_SECONDS
    count = int(left / interval) + 1
    return [k * interval for k in range(1, count + 1) if k * interval <= left - interval / 2]


class Decider:
    """Makes a controller at the first decision, and asks it; a failure is logged once an outage, never raised.

    Args:
        controller: makes it: a process that never decides needs no connections.
    """

    def __init__(self, controller: Callable[[], Decides]) -> None:
        self._make = controller
        self._controller: Decides | None = None
        self._lock = threading.Lock()
        self._failing: set[str] = set()

    def decide(self) -> None:
        """Decide for all queues, unless somebody has just done so."""
        self.attempt("decide", self._decide)

    def close(self) -> None:
        """Let another one decide, at once."""
        with self._lock:
            controller, self._controller = self._controller, None
        if controller is not None:
            self.attempt("give back its lease", controller.close)

    def attempt(self, what: str, step: Callable[[], object]) -> None:
        """Do it, and say so if it cannot be done."""
        try:
            step()
        except Exception as error:
            if what not in self._failing:
                bug = None if isinstance(error, LittleQError) else error  # with a traceback where it is ours
                logger.warning("Autoscaling cannot %s: %s", what, error, exc_info=bug)
            self._failing.add(what)
        else:
            if what in self._failing:
                logger.warning("Autoscaling can %s again.", what)
            self._failing.discard(what)

    def _decide(self) -> None:
        with self._lock:
            if self._controller is None:
                self._controller = self._make()
            controller = self._controller
        controller.tick()


class ScalingActor:
    """What the two actors do. One per broker and process.

    Args:
        interval: seconds between two decisions.
    """

    def __init__(self, decider: Decider, interval: float, clock: Clock = SYSTEM_CLOCK) -> None:
        self._decider, self._interval, self._clock = decider, interval, clock
        self.tick_actor: Actor[..., Any] | None = None

    def begin(self) -> None:
        """Each minute: send the ticks of this minute, and decide."""
        self._decider.attempt("send the ticks of this minute", self._send_ticks)
        self._decider.decide()

    def tick(self, due: float) -> None:
        """Decide, if it is not too late for that; `due` in s since the epoch."""
        if self._clock.now() - due <= LATE_SECONDS:
            self._decider.decide()

    def _send_ticks(self) -> None:
        now = self._clock.now()
        assert self.tick_actor is not None
        for delay in dues(now, self._interval):
            self.tick_actor.send_with_options(args=(now + delay,), delay=round(delay * 1000))


def config_of(broker: Broker) -> Config:
    """The configuration that the stack on this broker runs with; without a stack, what is found."""
    gate = getattr(broker, "littleq_gate", None)
    return load_config() if gate is None else gate.admission.config


def is_declared(broker: Broker) -> bool:
    """Whether the app has the scaling actor."""
    return BEGIN in broker.actors


def declare_scaling_actor(
    broker: Broker | None = None,
    config: Config | None = None,
    *,
    controller: Callable[[], Decides] | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Actor[..., Any]:
    """Declare the periodic actor that decides how many workers each queue needs.

    Adds periodiq's middleware where it is missing. Run it with `littleq controller MODULE`, or by yourself:
    `periodiq MODULE` beside `dramatiq MODULE --queues littleq.control`.

    Args:
        broker: default: Dramatiq's global one.
        config: default: that of the stack on the broker.
        controller: makes what decides; default: `littleq.autoscale.controller.controller_for(config)`.

    Returns:
        The actor that periodiq starts each minute.

    Raises:
        ConfigurationError: the control queue is bounded.
    """
    broker = broker if broker is not None else dramatiq.get_broker()
    config = config if config is not None else config_of(broker)
    queue = config.control_queue
    if config.queue(queue).admission_mode != "off":
        raise ConfigurationError(
            f"Queue {queue!r} carries the scaling decisions, which must never be refused, but its admission is "
            f"{config.queue(queue).admission_mode!r}: set it to 'off', or leave the queue out of the configuration."
        )
    if not any(isinstance(middleware, periodiq.PeriodiqMiddleware) for middleware in broker.middleware):
        broker.add_middleware(periodiq.PeriodiqMiddleware(skip_delay=LATE_SECONDS))
    decider = Decider(controller or partial(make_controller, config))
    made = ScalingActor(decider, config.decide_seconds, clock)
    on_queue = partial(
        dramatiq.actor,
        queue_name=queue,
        priority=PRIORITY,
        broker=broker,
        max_retries=0,
        time_limit=TIME_LIMIT_MS,
    )
    made.tick_actor = on_queue(actor_name=TICK)(made.tick)
    begin: Actor[..., Any] = on_queue(actor_name=BEGIN, periodic=periodiq.cron("* * * * *"))(made.begin)
    return begin


def make_controller(config: Config) -> Decides:
    """The controller of this configuration."""
    # Not at the top: a worker that serves other queues needs none of it.
    from littleq.autoscale.controller import controller_for  # noqa: PLC0415

    return controller_for(config)
