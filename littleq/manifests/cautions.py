"""Where what is rendered runs, but the promise may not hold: one sentence each."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from littleq.config import SLAQueueConfig
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
    if fleet.config.exporter_token is not None:
        yield (
            "exporter_token is not in the ConfigMap, for it is a secret: put it into Secret littleq-api, as key token."
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
