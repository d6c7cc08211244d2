"""The fleet's metrics as a `prometheus_client` collector.

    scrape ──> FleetCollector ── one round trip ──> Ledger.snapshot()
                              ── one round trip ──> Ledger.records()
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
from littleq.config import Config
from littleq.ledger import Ledger, LedgerSnapshot, open_ledger
from littleq.ledger.decisions import Published, read_decisions
from littleq.metrics import labels, names
from littleq.metrics.observe import known_queues
from littleq.metrics.page import empty_family, write_page
from littleq.metrics.sources import Source, SourceError

logger = logging.getLogger(__name__)


class FleetCollector:
    """A custom collector: register it, or give it to `littleq.server.exporter.serve_metrics`.

    Args:
        config: settings of queues whose workers have published none, and queues to show from the start.
        ledger: where the counts are read, and the names of the queues.
        broker: where the truth tables are read. It is not asked for queues that the ledger does not know,
            since that can take a scan of its whole server; name such a queue in the configuration to see it.
    """

    def __init__(self, config: Config, ledger: Source[Ledger], broker: Source[Inspector]) -> None:
        self._config = config
        self._ledger = ledger
        self._broker = broker
        self._known: frozenset[str] = frozenset()  # what to ask the broker for while the ledger is away

    def describe(self) -> Iterable[Family]:
        """All families, empty: registering the collector asks no server."""
        return [empty_family(metric) for metric in names.METRICS]

    def collect(self) -> Iterable[Family]:
        """The families of one scrape. Never raises."""
        snapshot, decisions = self._read_ledger()
        if snapshot is not None:
            self._known = frozenset(known_queues(snapshot, None, self._config))
        truths = self._read_broker(self._known.union(self._config.queues))
        page: list[Family] | None = None
        try:
            page = write_page(snapshot, truths, self._config, decisions)
        except Exception:
            logger.exception("Cannot make the metrics page. This is a bug in LittleQ: please report it.")
        return [self._up(ledger=snapshot, broker=truths, page=page), *(page or ())]

    def _read_ledger(self) -> tuple[LedgerSnapshot | None, Mapping[str, Published] | None]:
        """Counts and decisions under one deadline, so that a ledger that hangs costs a scrape no more than that."""
        try:
            return self._ledger.read(lambda ledger: (ledger.snapshot(), read_decisions(ledger)))
        except SourceError:
            return None, None

    def _read_broker(self, queues: Collection[str]) -> Mapping[str, TruthTable] | None:
        try:
            return self._broker.read(lambda inspector: inspector.truth(sorted(queues)))
        except SourceError:
            return None

    @staticmethod
    def _up(**sources: object) -> Family:
        family = GaugeMetricFamily(names.UP.name, names.UP.help, labels=names.UP.labels)
        for source in labels.SOURCES:
            family.add_metric([source], float(sources[source] is not None))
        return family


def collector_for(config: Config) -> FleetCollector:
    """A collector of the configured ledger and broker, which are opened at the first scrape."""
    return FleetCollector(
        config,
        ledger=Source("ledger", lambda: open_ledger(config)),
        broker=Source("broker", lambda: backend_for(build_broker(config)).inspector),
    )
