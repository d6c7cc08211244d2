"""`littleq exporter`: the metrics endpoint as a process of its own."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click

from littleq.cli.options import connection_options, load_config, shared_ledger


@click.command(short_help="Serve the metrics of the whole fleet.")
@click.option(
    "--host", metavar="ADDRESS", help="Address to listen on.  [default: exporter_host, or 127.0.0.1]"
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Port to listen on, 0 for any free one.  [default: exporter_port, or 9191]",
)
@connection_options
def exporter(host: str | None, port: int | None, url: str | None, config_file: Path | None) -> None:
    """Serve the metrics of the whole fleet for Prometheus.

    The numbers come from the ledger and the broker, not from this process: one exporter is enough, any
    number of them serve the same page, and it does not matter which worker dies. `dramatiq` starts one with
    the workers (exporter_enabled), so this command is for a fleet whose workers are elsewhere, or many.

    \b
    GET /metrics   for Prometheus; sla_up{source="ledger"|"broker"} is 0 while one cannot be read
    GET /healthz   200 while this process answers
    GET /api/v1/queues, /api/v1/queues/QUEUE/scaling   the decisions, for KEDA's metrics-api trigger

    \b
    Examples:
      littleq exporter                        what littleq.toml says, on 127.0.0.1:9191
      littleq exporter --redis localhost:6379 --port 9200
      littleq exporter --host 0.0.0.0         for other machines, too: only the API asks, for exporter_token

    Stops on SIGTERM or Ctrl-C. Exits with 2 if the port is taken.
    """
    from littleq.metrics.collector import collector_for
    from littleq.server.api import api_for
    from littleq.server.exporter import serve_metrics

    config = load_config(url, config_file)
    shared_ledger(config)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    serve_metrics(
        collector_for(config),
        config.exporter_host if host is None else host,
        config.exporter_port if port is None else port,
        announce=lambda address: click.echo(f"Serving the fleet's metrics on {address}"),
        decisions=api_for(config),
    )
