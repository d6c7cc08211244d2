"""A configuration and a cluster: the queues that get workers there, and what all their objects need to know."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from littleq.config import Config, SLAQueueConfig
from littleq.config.kinds import NO_LEDGER
from littleq.errors import ConfigurationError
from littleq.manifests.objects import queue_slug
from littleq.manifests.settings import Settings
from littleq.metrics import names
from littleq.monitoring.deciding import guard_seconds
from littleq.monitoring.queries import desired_workers_query

#: The exporter's port where the configuration leaves it to chance (port 0): a Service needs one that is known.
EXPORTER_PORT = 9191


@dataclass(frozen=True)
class Fleet:
    """What is to run.

    Raises:
        ConfigurationError: no queue is configured, or two would get objects of one name.
    """

    config: Config
    settings: Settings

    def __post_init__(self) -> None:
        if not self.queues:
            raise ConfigurationError(
                "No queue is configured, so there is nothing to run: name one in littleq.toml, as [queues.NAME]."
            )
        slugs: dict[str, str] = {}
        for queue in self.queues:
            other = slugs.setdefault(queue_slug(queue.name), queue.name)
            if other != queue.name:
                raise ConfigurationError(
                    f"Queues {other!r} and {queue.name!r} would both be {queue_slug(other)!r} in Kubernetes: "
                    "rename one."
                )

    @cached_property
    def queues(self) -> tuple[SLAQueueConfig, ...]:
        """Those that get workers, by name: all but the one that carries the decisions, whose worker the controller
        brings."""
        found = (queue for queue in self.config.queues.values() if queue.name != self.config.control_queue)
        return tuple(sorted(found, key=lambda queue: queue.name))

    @cached_property
    def scaled(self) -> tuple[SLAQueueConfig, ...]:
        """Those whose number of workers is decided about."""
        return tuple(queue for queue in self.queues if queue.autoscale)

    @property
    def needs_ledger(self) -> bool:
        """Whether the broker keeps none, so that the Secret has to name one."""
        return self.config.url.partition("://")[0] in NO_LEDGER

    @property
    def exporter_port(self) -> int:
        """The port that the exporter listens on in its pod."""
        return self.config.exporter_port or EXPORTER_PORT

    @property
    def deletion_cost(self) -> bool:
        """Whether the controller keeps the cost of deleting each worker's pod."""
        return self.settings.deletion_cost or self.config.pod_deletion_cost

    def query(self, queue: SLAQueueConfig) -> str:
        """What Prometheus is asked for a queue's workers."""
        follows = self.settings.follows_every_change
        gauge = names.DESIRED_WORKERS if follows else names.DESIRED_WORKERS_STEPPED
        return desired_workers_query(
            queue.name,
            gauge=gauge.name,
            matchers=self.settings.matchers,
            stale_seconds=guard_seconds(self.config),
        )
