"""`install` and `setup`: the stack on a broker, in the right order.

install(broker)   an app that has its broker: two lines
setup()           an app that lets the configuration choose: one line
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import Retries

from littleq.backends import backend_for, build_broker
from littleq.backends.redis.urls import sibling
from littleq.batches import judge_groups_whole, keep_results_findable
from littleq.clock import SYSTEM_CLOCK, Clock
from littleq.config.sources import load_config
from littleq.depth import ExactDepth, SampledDepth
from littleq.errors import ConfigurationError
from littleq.gate import Gate
from littleq.hooks import Hooks
from littleq.ledger import TIMEOUT_SECONDS, Ledger, MemoryLedger, fields, in_memory, open_ledger
from littleq.ledger.recorder import Recorder
from littleq.ledger.redis import RedisLedger
from littleq.middleware import (
    AdmissionControl,
    Concurrency,
    DeadLetters,
    Draining,
    ExponentialRetries,
    Poison,
    Presence,
    Pulse,
    SLATimer,
)
from littleq.server.exporter import run_as_fork

if TYPE_CHECKING:
    from dramatiq import Broker
    from dramatiq.broker import Consumer

    from littleq.backends import Backend
    from littleq.config import Config
    from littleq.depth import DepthMeter


def install(
    broker: Broker, config: Config | None = None, *, ledger: Ledger | None = None, clock: Clock = SYSTEM_CLOCK
) -> Broker:
    """Add the stack to a Dramatiq broker. Call it before the actors are declared.

    Dramatiq's `Retries` is replaced by `ExponentialRetries`, which keeps its settings for queues that are
    not configured; a subclass of `Retries` is the app's own and stays. Everything else is added. An app
    whose queues are not configured behaves as before: nothing is refused, and each job is timed and
    counted.

    Args:
        broker: one of LittleQ's (`littleq.backends`), Dramatiq's RedisBroker or StubBroker, or a subclass of one.
        config: default: what `load_config` finds.
        ledger: default: at `config.ledger_url` if that is set, else on the broker's own server where that is a Redis
            or Valkey, else in the memory of this process.
        clock: for tests.

    Returns:
        The same broker.

    Raises:
        ConfigurationError: a setting is wrong, or the broker has the stack already.
        BackendError: LittleQ does not know this kind of broker.
    """
    if hasattr(broker, "littleq_gate"):
        raise ConfigurationError("littleq.install was called on this broker already: call it once.")
    config = config if config is not None else load_config()
    backend = backend_for(broker)
    if ledger is None:
        ledger = _open_ledger(broker, config)
    recorder = Recorder(ledger, clock=clock, flush_seconds=config.flush_seconds)

    backend.extend(config)
    backend.tell_purged(lambda queue, jobs: recorder.count(queue, fields.PURGED, jobs))
    concurrency = Concurrency(config=config)
    admission = AdmissionControl(
        config=config, recorder=recorder, depth=_depth(backend, config, clock), clock=clock
    )
    _replace_retries(broker, backend, config, recorder, clock)
    counts_deaths = backend.capabilities.poison.value != "ledger"
    for middleware in (
        DeadLetters(recorder=recorder, clock=clock),
        *([] if counts_deaths else [Poison(config=config, ledger=ledger, recorder=recorder)]),
        admission,
        concurrency,
        Draining(),
        Presence(recorder=recorder, forks=_forks(broker, backend, config), clock=clock),
        Pulse(ask=backend.ping),
        SLATimer(config=config, recorder=recorder, clock=clock),
    ):
        broker.add_middleware(middleware)
    _bound_prefetch(broker, concurrency)
    Hooks(broker).take_over()
    Gate(broker, admission, backend).close_around()
    judge_groups_whole()
    keep_results_findable()
    return broker


def setup(config: Config | None = None, *, path: Path | str | None = None, **settings: Any) -> Broker:
    """Build the broker that the configuration names, add the stack, and make it Dramatiq's global broker.

    Args:
        config: use this and look nowhere else.
        path: a configuration file; default: `littleq.toml` or `pyproject.toml` here or above.
        settings: override single settings, as in `setup(url="redis://localhost:6379")`.

    With no URL anywhere it is `embedded://`: a server of this user's, started if it does not run.

    Raises:
        ConfigurationError: a setting is wrong, or an extra that it needs is missing.
    """
    if config is None:
        config = load_config(path=Path(path) if path is not None else None, overrides=settings or None)
    elif settings or path is not None:
        raise ConfigurationError(
            "setup() was given a config and other settings: put them all into the config."
        )
    broker = install(build_broker(config), config)
    dramatiq.set_broker(broker)
    return broker


def _open_ledger(broker: Broker, config: Config) -> Ledger:
    if config.ledger_url is not None:
        return open_ledger(config)
    if isinstance(broker, RedisBroker):
        timeouts = {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS}
        return RedisLedger(sibling(broker.client, **timeouts), broker.namespace)
    return MemoryLedger()


def _forks(broker: Broker, backend: Backend, config: Config) -> list[Callable[[], int]]:
    """The exporter, where it would find this broker, and a ledger that processes share.

    It runs in a fork of Dramatiq's main process, which never imports the app: what was configured in Python
    it does not know.
    """
    if not config.exporter_enabled or backend.ping is None or in_memory(config):
        return []
    found = load_config()
    namespace = getattr(broker, "namespace", config.namespace)
    same_ledger = (found.ledger_url, found.namespace) == (config.ledger_url, namespace)
    return [run_as_fork] if same_ledger and backend.serves(found.url) else []


def _depth(backend: Backend, config: Config, clock: Clock) -> DepthMeter | None:
    read = backend.inspector.depths
    if backend.bounded:
        return None
    if backend.exact_depth:
        return ExactDepth(read)
    return SampledDepth(
        read, clock=clock, interval_seconds=config.sample_seconds, max_age_seconds=4 * config.sample_seconds
    )


def _replace_retries(
    broker: Broker, backend: Backend, config: Config, recorder: Recorder, clock: Clock
) -> None:
    """Put ours where Dramatiq's stood. An app's own subclass of it stays, and does what ours would."""
    stock = next((m for m in broker.middleware if type(m) is Retries), None)
    if stock is None and any(isinstance(m, Retries) for m in broker.middleware):
        return
    ours = ExponentialRetries(
        config=config, recorder=recorder, is_transient=backend.is_transient, replaces=stock, clock=clock
    )
    if stock is None:
        broker.add_middleware(ours)
    else:
        broker.middleware[broker.middleware.index(stock)] = ours
        broker.actor_options |= ours.actor_options


def _bound_prefetch(broker: Broker, concurrency: Concurrency) -> None:
    consume = broker.consume

    @wraps(consume)
    def bounded(queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        return consume(queue_name, concurrency.prefetch(broker, queue_name, prefetch), timeout)

    broker.consume = bounded  # type: ignore[method-assign]
