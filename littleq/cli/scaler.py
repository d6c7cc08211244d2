"""`littleq scaler`: an external scaler for KEDA."""

from __future__ import annotations

from pathlib import Path

import click

from littleq.cli import options

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(short_help="Tell KEDA how many workers each queue needs.")
@click.option(
    "--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Address to listen on."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    default=6000,
    show_default=True,
    help="Port to listen on, 0 for any free one.",
)
@click.option(
    "--tls-cert", type=_FILE, metavar="FILE", help="Serve TLS with this certificate (PEM, with its chain)."
)
@click.option("--tls-key", type=_FILE, metavar="FILE", help="Its private key (PEM).")
@click.option(
    "--client-ca", type=_FILE, metavar="FILE", help="Let in only clients with a certificate of this CA."
)
@options.connection_options
def scaler(
    *,
    host: str,
    port: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    client_ca: Path | None,
    url: str | None,
    config_file: Path | None,
) -> None:
    """Serve the decisions to KEDA, over gRPC, as an external scaler of type external-push.

    A queue that is empty is woken within 0.2 s of its first job, not at KEDA's next poll. A decision that is stale
    is answered with an error, so that KEDA uses the fallback of its ScaledObject; no answer ever says 0 because
    something is broken. Any number of scalers may run. The certificate's files are read again when they change.

    \b
      littleq scaler                                     on 127.0.0.1:6000, without TLS
      littleq scaler --host 0.0.0.0 --tls-cert tls.crt --tls-key tls.key --client-ca ca.crt

    The trigger in a ScaledObject:

    \b
      - type: external-push
        metadata: {scalerAddress: "littleq-scaler:6000", queue: realtime}

    Needs the extra: pip install 'littleq[keda]'. Stops on SIGTERM or Ctrl-C. Exits with 2 if the port is taken.
    """
    import asyncio
    import os

    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its lines beside ours say nothing that ours do not
    try:
        from littleq.autoscale.keda.serving import TLS, serve
        from littleq.autoscale.keda.watch import lookout_for
    except ImportError as error:
        raise click.UsageError(
            f"The scaler needs the package {error.name}: pip install 'littleq[keda]'."
        ) from None
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together: give both, or neither.")
    if client_ca is not None and tls_cert is None:
        raise click.UsageError("--client-ca goes with TLS: give --tls-cert and --tls-key too.")
    config = options.load_config(url, config_file)
    options.shared_ledger(config)
    tls = None if tls_cert is None or tls_key is None else TLS(tls_cert, tls_key, client_ca)
    asyncio.run(
        serve(
            lookout_for(config),
            host,
            port,
            tls=tls,
            announce=lambda address: click.echo(f"Serving decisions to KEDA on {address}"),
        )
    )
