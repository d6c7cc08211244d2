"""Where what is rendered runs, but the promise may not hold: one sentence each."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from urllib.parse import urlsplit

from littleq.config import SLAQueueConfig
from littleq.config.contradictions import doubts
from littleq.manifests import sizing
from littleq.manifests.fleet import Fleet


def cautions(fleet: Fleet, overlays: Collection[str]) -> Iterator[str]:
    """What to think about before it is applied.

    Args:
        overlays: that are rendered; some cautions are about one of them.
    """
    for queue in fleet.scaled:
        for text in (*_about(queue), *_waking(fleet, queue, overlays)):
            yield f"queue {queue.name}: {text}"
    for queue in fleet.queues:
        if not queue.autoscale:
            workers = sizing.workers_in_words(max(1, queue.min_workers))
            yield f"queue {queue.name}: autoscale is false, so it has {workers}, whatever comes."
    yield from _about_broker(fleet, overlays)
    if fleet.config.exporter_token is not None:
        yield (
            "exporter_token is not in the ConfigMap, for it is a secret: put it into Secret littleq-api, as key token."
        )


def _partitions(fleet: Fleet) -> Iterator[str]:
    """What `littleq config check` says about workers that would get no jobs."""
    return (doubt for doubt in doubts(fleet.config) if "littleq.partitions" in doubt)


def _about_broker(fleet: Fleet, overlays: Collection[str]) -> Iterator[str]:
    yield from _partitions(fleet)
    scheme = fleet.config.url.partition("://")[0]
    if fleet.needs_ledger and fleet.config.ledger_url is None:
        yield (
            f"a broker at {scheme}:// keeps no ledger, and no pod starts before Secret littleq-broker has a key "
            "ledger_url: a Redis or Valkey server (redis.yaml is one to try it with: redis://redis:6379)."
        )
    if scheme == "sqs" and not fleet.settings.account_annotations:
        yield (
            "the pods have no identity at AWS: give --account-annotation eks.amazonaws.com/role-arn=ARN (IRSA), or "
            "associate a role with the ServiceAccounts (EKS Pod Identity)."
        )
    if "keda-plain" in overlays:
        if scheme == "sqs" and not urlsplit(fleet.config.url).netloc:
            yield "overlay keda-plain: url names no region, which KEDA needs: write sqs://REGION."
        for queue in fleet.scaled:
            if queue.service_time_seconds is None:
                yield (
                    f"queue {queue.name}: overlay keda-plain takes {queue.jobs_per_worker} jobs a worker "
                    "(jobs_per_worker): set service_time_seconds, and it follows from the SLA."
                )


def _about(queue: SLAQueueConfig) -> Iterator[str]:
    planned = sizing.planned_workers(queue)
    if planned is not None and planned.value > queue.max_workers:
        yield (
            f"{planned.reason} takes {sizing.workers_in_words(planned.value)}, but max_workers is "
            f"{queue.max_workers}: raise it, or promise less."
        )


def _waking(fleet: Fleet, queue: SLAQueueConfig, overlays: Collection[str]) -> Iterator[str]:
    if queue.min_workers > 0:
        return
    if any(overlay.startswith("keda") for overlay in overlays):
        config = fleet.config
        takes = sizing.waking_seconds(queue, config)
        if takes > queue.sla_seconds:
            yield (
                f"min_workers is 0, and a worker is there up to {takes:g} s after the first job "
                f"({config.decide_seconds:g} until decided + {sizing.scrape_seconds(config)} scraped + "
                f"{sizing.POLLING_SECONDS} polled + {queue.startup_seconds:g} started), but {queue.sla_seconds:g} s "
                "are promised: set min_workers = 1, promise more, or lower startup_seconds if it starts faster."
            )
    if "hpa" in overlays:
        yield "min_workers is 0, but an HPA keeps one worker: only KEDA goes to none."
