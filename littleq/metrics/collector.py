"""The fleet's metrics as a `prometheus_client` collector.

    scrape ──> FleetCollector ── one round trip ──> Ledger.snapshot()
                              ── one round trip ──> Inspector.truth()
                              ── arithmetic ──────> families

It keeps no numbers between scrapes: any process that runs it against the same ledger and broker shows the
same page, and a queue, worker or process that is gone from them is gone from the page. A source that cannot
be read sets its `sla_up` to 0 and leaves its series out; a scrape never raises.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping

from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family

from littleq.backends import backend_for, build_broker
from littleq.backends.base import Inspector, TruthTable
from littleq.clock import SYSTEM_CLOCK, Clock
from littleq.config import Config
from littleq.ledger import Ledger, LedgerSnapshot, open_ledger
from littleq.metrics import names
from littleq.metrics.page import empty_family, write_page
from littleq.metrics.sources import Source, SourceError

logger = logging.getLogger(__name__)

#: How often the broker is asked for queues that the ledger does not know, in seconds: only queues that no
#: process with LittleQ has touched need it, so it may cost a second round trip now and then.
DISCOVERY_SECONDS = 60.0


class FleetCollector:
    """A custom collector: register it, or give it to `littleq.server.exporter.serve_metrics`.

    Args:
        config: settings of queues whose workers have published none, and queues to show from the start.
        ledger: where the counts are read.
        broker: where the truth tables are read.
        clock: for tests.
    """

    def __init__(
        self,
        config: Config,
        ledger: Source[Ledger],
        broker: Source[Inspector],
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._broker = broker
        self._clock = clock
        self._discovered: frozenset[str] = frozenset()
        self._discover_at = clock.monotonic()

    def describe(self) -> Iterable[Family]:
        """All families, empty: registering the collector asks no server."""
        return [empty_family(metric) for metric in names.METRICS]

    def collect(self) -> Iterable[Family]:
        """The families of one scrape. Never raises."""
        snapshot = self._read_ledger()
        truths = self._read_broker(self._known_queues(snapshot), discover=snapshot is None)
        page: list[Family] | None = None
        try:
            page = write_page(snapshot, truths, self._config)
        except Exception:
            logger.exception("Cannot make the metrics page. This is a bug in LittleQ: please report it.")
        return [self._up(ledger=snapshot, broker=truths, page=page), *(page or ())]

    def _known_queues(self, snapshot: LedgerSnapshot | None) -> set[str]:
        known = set(self._config.queues)
        if snapshot is not None:
            known.update(snapshot.queues)
            known.update(queue for worker in snapshot.workers for queue in worker.queues)
        return known - {""}  # the ledger's name for "no queue"

    def _read_ledger(self) -> LedgerSnapshot | None:
        try:
            return self._ledger.read(lambda ledger: ledger.snapshot())
        except SourceError:
            return None

    def _read_broker(self, known: Collection[str], *, discover: bool) -> Mapping[str, TruthTable] | None:
        def truths(inspector: Inspector) -> Mapping[str, TruthTable]:
            if discover or self._clock.monotonic() >= self._discover_at:
                self._discovered = frozenset(inspector.queues())
                self._discover_at = self._clock.monotonic() + DISCOVERY_SECONDS
            return inspector.truth(sorted(self._discovered.union(known)))

        try:
            return self._broker.read(truths)
        except SourceError:
            return None

    @staticmethod
    def _up(**sources: object) -> Family:
        family = GaugeMetricFamily(names.UP.name, names.UP.help, labels=names.UP.labels)
        for source in names.SOURCES:
            family.add_metric([source], float(sources[source] is not None))
        return family


def collector_for(config: Config) -> FleetCollector:
    """A collector of the configured ledger and broker, which are opened at the first scrape."""
    return FleetCollector(
        config,
        ledger=Source("ledger", lambda: open_ledger(config)),
        broker=Source("broker", lambda: backend_for(build_broker(config)).inspector),
    )
