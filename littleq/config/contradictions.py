"""Settings that are legal each by itself, but not together: `contradictions` are refused, `doubts` only told.

A contradiction leaves LittleQ nothing sensible to do. A doubt is a configuration that runs, though hardly as
meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from littleq.config.kinds import KAFKA_PARTITIONS, NO_LEDGER
from littleq.config.messages import Problem, show
from littleq.redaction import HIDDEN

if TYPE_CHECKING:
    from littleq.config.models import Config, SLAQueueConfig


def queue_contradictions(queue: SLAQueueConfig) -> Iterator[Problem]:
    """What contradicts itself in one queue."""
    if queue.admission == "contract" and queue.arrival_rate is None:
        yield Problem(
            ("admission",),
            "is 'contract', but arrival_rate is not set: it must be a number > 0; "
            "declare the jobs per second that the contract allows, or use capacity or off",
        )
    if queue.on_overload == "divert" and queue.divert_to is None:
        yield Problem(
            ("on_overload",),
            "is 'divert', but divert_to is not set: it must be another queue's name; "
            "set it, or use shed or defer",
        )
    if queue.divert_to == queue.name:
        yield Problem(
            ("divert_to",),
            f"is {queue.name!r}, the queue itself: it must be another queue's name; correct it",
        )
    yield from _wrong_order(queue, "min_backoff_seconds", "max_backoff_seconds")
    yield from _wrong_order(queue, "min_workers", "max_workers")
    yield from _wrong_order(queue, "concurrency", "concurrency_global")


def _wrong_order(queue: SLAQueueConfig, low: str, high: str) -> Iterator[Problem]:
    least, most = getattr(queue, low), getattr(queue, high)
    if least is None or most is None or least <= most:
        return
    # The place is that of a value which the user wrote, never of a default.
    if low in queue.given:
        text = (
            f"is {least}: it must be <= {high}, which is {most}{'' if high in queue.given else ' by default'}"
        )
        yield Problem((low,), f"{text}; lower it, or raise {high}")
    else:
        yield Problem(
            (high,), f"is {most}: it must be >= {low}, which is {least} by default; raise it, or set {low}"
        )


def config_contradictions(config: Config) -> Iterator[Problem]:
    """What contradicts itself between queues, or in the process."""
    for name in ("url", "ledger_url"):
        value = getattr(config, name) or ""
        if f"//{HIDDEN}@" in value or f"={HIDDEN}" in value:
            yield Problem(
                (name,), f"holds {HIDDEN}, as messages hide a password: write the real user and password"
            )
    if (config.ledger_url or "").partition("://")[0] in NO_LEDGER:
        yield Problem(
            ("ledger_url",),
            f"is {show(config.ledger_url)}, a broker that cannot keep a ledger: it must be a Redis or Valkey server, "
            "as in redis://localhost:6379, embedded:// on one machine, or memory://; correct it",
        )
    if config.exporter_token == HIDDEN:
        yield Problem(
            ("exporter_token",), f"is {HIDDEN}, as messages hide it: write the real token, or leave it out"
        )
    for key, queue in config.queues.items():
        if key != queue.name:
            yield Problem(
                ("queues", key, "name"),
                f"is {queue.name!r}: it must be {key!r}, its key; rename the one or the other",
            )
        elif queue.on_overload == "divert" and (loop := _diversion_loop(config.queues, queue)):
            if key != min(loop):  # each circle once
                continue
            yield Problem(
                ("queues", key, "divert_to"),
                f"is {queue.divert_to!r}, which leads back ({' → '.join(loop)}): "
                "it must lead to a queue that does not divert; break the circle",
            )


def _diversion_loop(queues: Mapping[str, SLAQueueConfig], start: SLAQueueConfig) -> list[str]:
    """The queues that a job refused by `start` is sent through until it is back; empty if it never is."""
    path, queue = [start.name], start
    while queue.on_overload == "divert" and queue.divert_to is not None:
        path.append(queue.divert_to)
        if queue.divert_to == start.name:
            return path
        following = queues.get(queue.divert_to)
        if following is None or len(path) > len(queues):
            break
        queue = following
    return []


def doubts(config: Config, *, threads: int | None = None) -> Iterator[str]:
    """What runs, but hardly as meant; one sentence each.

    Args:
        config: a configuration without contradictions.
        threads: worker threads in each worker process, >= 1; None: each queue's `threads_per_worker`.
    """
    for queue in config.queues.values():
        for doubt in (
            *_promise_doubts(queue),
            *_capacity_doubts(queue, threads or queue.threads_per_worker),
            *_unused_doubts(queue),
            *_control_doubts(queue, config),
            *_partition_doubts(queue, config),
        ):
            yield f"queue {queue.name}: {doubt}"


def _promise_doubts(queue: SLAQueueConfig) -> Iterator[str]:
    service, sla = queue.service_time_seconds, queue.sla_seconds
    if queue.sla_on == "sojourn" and service is not None and service >= sla:
        yield (
            f"a job takes {service} s of the {sla} s promised until it is done: nothing can keep that; "
            "raise sla_seconds, or promise the wait (sla_on = wait)."
        )


def _capacity_doubts(queue: SLAQueueConfig, threads: int) -> Iterator[str]:
    if queue.arrival_rate is None:
        return
    limit = queue.arrival_rate * queue.sla_seconds
    if queue.admission_mode == "contract" and limit < 1:
        yield (
            f"the contract allows L = arrival_rate × sla_seconds = {limit:g} jobs, less than one; "
            "raise one of the two, or use admission = capacity."
        )
    if queue.service_time_seconds is None:
        return
    load = queue.arrival_rate * queue.service_time_seconds
    parallel = threads if queue.concurrency is None else min(threads, queue.concurrency)
    servers = queue.max_workers * parallel
    if load >= servers:
        yield (
            f"arrival_rate × service_time_seconds = {load:g} jobs run at a time, but max_workers = "
            f"{queue.max_workers} with {parallel} jobs each run at most {servers}; "
            f"it needs max_workers > {load / parallel:g}."
        )
    elif queue.concurrency_global is not None and load >= queue.concurrency_global:
        yield (
            f"arrival_rate × service_time_seconds = {load:g} jobs run at a time, but concurrency_global = "
            f"{queue.concurrency_global} lets no more run in the whole fleet; it needs concurrency_global > {load:g}."
        )


def _unused_doubts(queue: SLAQueueConfig) -> Iterator[str]:
    if queue.divert_to is not None and queue.on_overload != "divert":
        yield f"divert_to is set, but on_overload is {queue.on_overload}, so it is never used."
    if queue.criticality_share("sheddable") > queue.criticality_share("default") or (
        queue.criticality_share("default") > queue.criticality_share("critical")
    ):
        yield "criticality_shares refuse more critical jobs first; let the share of critical be largest."


def _partition_doubts(queue: SLAQueueConfig, config: Config) -> Iterator[str]:
    """Kafka gives a partition to one process: more of them than partitions find nothing to do."""
    address = urlsplit(config.url)
    if address.scheme != "kafka" or queue.name == config.control_queue:
        return
    named = dict(parse_qsl(address.query)).get("littleq.partitions")
    partitions = int(named) if named and named.isdecimal() else KAFKA_PARTITIONS
    if queue.max_workers > partitions:
        where = "littleq.partitions in url" if named else "littleq.partitions is not set in url"
        yield (
            f"max_workers is {queue.max_workers}, but a new topic has {partitions} partitions ({where}), and no more "
            f"workers than those get jobs: set littleq.partitions={queue.max_workers} in url, or lower max_workers."
        )


def _control_doubts(queue: SLAQueueConfig, config: Config) -> Iterator[str]:
    """Not a contradiction: who never decides anything may bound it."""
    if queue.name == config.control_queue and queue.admission_mode != "off":
        yield (
            f"it carries the scaling decisions (control_queue), which must never be refused, but admission is "
            f"{queue.admission_mode}: set admission = off, or leave the queue out."
        )
