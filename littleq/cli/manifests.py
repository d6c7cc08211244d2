"""`littleq manifests`: what Kubernetes needs, from littleq.toml; and where a cluster has something else."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from littleq.cli import options
from littleq.cli.cluster import DEFAULT_MODULES, cluster_options, settings_of
from littleq.cli.drifted import check, left_over

if TYPE_CHECKING:
    from littleq.config import Config
    from littleq.manifests import Fleet
    from littleq.manifests.settings import TimeLimit

_OVERLAYS = ("keda", "keda-metrics-api", "keda-external-push", "keda-plain", "hpa", "monitoring", "redis")
_FORMATS = ("kubernetes", "prometheus", "grafana")


@click.command()
@click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write all files there.",
)
@click.option(
    "--overlay",
    type=click.Choice(_OVERLAYS),
    default="keda",
    show_default=True,
    help="Which one to print, or to check a file against.",
)
@click.option(
    "--check",
    "checked",
    metavar="DIR|FILE|-",
    help="Say what differs there: in a folder that --out wrote, or in what `kubectl get -o yaml` prints.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    default="kubernetes",
    show_default=True,
    help="Or a rules file for Prometheus, or the dashboard for Grafana.",
)
@cluster_options
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration, instead of the littleq.toml that is found.",
)
@click.pass_context
def manifests(ctx: click.Context, /, **given: Any) -> None:
    """Print or write what Kubernetes needs to run the fleet, from littleq.toml.

    \b
      littleq manifests --out k8s                       all of it, for kubectl apply -k k8s/overlays/keda
      littleq manifests --overlay hpa | kubectl apply -f -
      littleq manifests --check k8s                     do the files still say what littleq.toml says?
      kubectl get -f k8s/keda.yaml -o yaml | littleq manifests --check -

    Numbers are derived where they can be: the grace period from the longest time limit, the fallback from the plan.
    Give --check the options that the files were written with. Exit code 1: something differs.
    """
    from littleq.manifests import Fleet

    _check_options(given)
    config = options.load_config(None, given["config_file"])
    if given["form"] != "kubernetes":
        _print_monitoring(config, given["form"])
        return
    limits = _time_limits(config, given)
    fleet = Fleet(config, settings_of(config, given, limits))
    if given["checked"] is not None:
        ctx.exit(check(fleet, given["checked"], given["overlay"]))
    overlays = _OVERLAYS if given["folder"] else (given["overlay"],)
    if given["folder"]:
        _write(fleet, given["folder"])
    else:
        from littleq.manifests.tree import rendered

        click.echo(rendered(fleet, given["overlay"]).text, nl=False)
    _warn(fleet, overlays)


def _check_options(given: Mapping[str, Any]) -> None:
    if given["folder"] and given["checked"] is not None:
        raise click.UsageError("--out and --check exclude each other: give one.")
    if given["form"] != "kubernetes" and (given["folder"] or given["checked"] is not None):
        raise click.UsageError(f"--format {given['form']} prints one file: leave --out and --check out.")


def _time_limits(config: Config, given: Mapping[str, Any]) -> Mapping[str, TimeLimit]:
    """What the app's actors say; nothing, where --grace says it or the app is not here."""
    if given["grace"] is not None:
        return {}
    from littleq.autoscale.actor import config_of
    from littleq.cli.apps import environment, load_app, queues_of
    from littleq.cli.limits import time_limits

    try:
        broker = load_app(given["modules"] or DEFAULT_MODULES, environment(None, given["config_file"]))
    except click.UsageError as error:
        if given["modules"]:
            raise click.UsageError(
                f"{error.format_message().rstrip('.')}; or give --grace, and nothing is imported."
            ) from None
        _say(
            "The time limits of your actors are not known, for no module actors can be imported here, so running jobs "
            "get 600 s to finish (Dramatiq's default): name your app with --modules, or give --grace."
        )
        return {}
    if config_of(broker).queues != config.queues:
        _say(
            "The app sets service levels in Python that littleq.toml does not have: only those of the file are used."
        )
    known = queues_of(broker) - {config.control_queue}
    for queue in sorted(known - set(config.queues)):
        _say(
            f"queue {queue}: it has actors, but is not in littleq.toml, so no worker serves it: add [queues.{queue}]."
        )
    for queue in sorted(set(config.queues) - known - {config.control_queue}):
        _say(
            f"queue {queue}: none of the app's actors is in it, so its workers would not start: name its module, too."
        )
    return time_limits(broker)


def _write(fleet: Fleet, folder: Path) -> None:
    from littleq.errors import ConfigurationError
    from littleq.manifests.tree import tree

    files = tree(fleet)
    for path, file in files.items():
        target = folder / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(file.text, encoding="utf-8")
        except OSError as error:
            if error.errno == errno.ENOSPC:  # told by itself
                raise
            raise ConfigurationError(
                f"{target} cannot be written ({error.strerror}): allow it, or name another folder with --out."
            ) from None
    click.echo(
        f"{len(files)} files written to {folder}. Next: kubectl apply -k {folder / 'overlays' / 'keda'}"
    )
    for path in left_over(folder, files):
        _say(f"{folder / path} is of a queue that is not configured any more: nothing uses it, remove it.")


def _print_monitoring(config: Config, form: str) -> None:
    if form == "grafana":
        from littleq.manifests.watching import dashboard_json

        click.echo(dashboard_json(), nl=False)
        return
    from littleq.manifests.writing import to_yaml
    from littleq.monitoring.rules import rule_groups

    head = "Recording rules and alerts. Written by `littleq manifests --format prometheus`."
    click.echo(to_yaml([{"groups": rule_groups(config)}], head), nl=False)


def _warn(fleet: Fleet, overlays: Iterable[str]) -> None:
    from littleq.manifests.cautions import cautions

    for caution in cautions(fleet, list(overlays)):
        _say(caution)


def _say(text: str) -> None:
    click.echo(f"warning: {text}", err=True)
