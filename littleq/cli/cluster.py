"""Options about the cluster that manifests are for, and what they come to."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from littleq.cli import options

if TYPE_CHECKING:
    from littleq.config import Config
    from littleq.manifests.settings import Settings, TimeLimit

#: The reference app, or whatever is called so in the current folder.
DEFAULT_MODULES = ("actors",)

_VERSION = re.compile(r"v?(\d+)\.(\d+)\+?(\..*)?")
_MATCHER = r"[a-zA-Z_]\w*\s*(=~|!~|!=|=)\s*\"(\\.|[^\"\\])*\""
_MATCHERS = re.compile(rf"{_MATCHER}(\s*,\s*{_MATCHER})*")
_ANNOTATION = re.compile(r"(([\w.-]+)/)?[\w.-]+=[^\r\n]*")
_LABEL = re.compile(r"(([\w.-]+)/)?[\w.-]+=[\w.-]*")


class _Version(options._Text):
    """A version of Kubernetes, to (major, minor)."""

    name = "version"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        found = _VERSION.fullmatch(str(value).strip())
        if not found:
            self.fail(f"{value!r} is no version of Kubernetes: give one such as 1.35.", param, ctx)
        return int(found[1]), int(found[2])


class _Checked(options._Text):
    """A text of a certain form."""

    def __init__(self, name: str, pattern: re.Pattern[str], legal: str) -> None:
        self.name, self.pattern, self.legal = name, pattern, legal

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not self.pattern.fullmatch(str(value)):
            self.fail(f"{value!r} is not {self.legal}.", param, ctx)
        return str(value)


class _ServerURL(options._Text):
    """Where a Prometheus is; without a password, which would stand in a manifest."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            address = urlsplit(str(value))
            legal = address.scheme in ("http", "https") and address.hostname and address.port != 0
        except ValueError:
            legal = False
        if not legal:
            self.fail(
                "it is no http:// or https:// URL: give one such as http://prometheus:9090.", param, ctx
            )
        if address.username is not None or address.password is not None:
            self.fail(
                "it holds a user or a password: leave them out, a manifest is no place for them.", param, ctx
            )
        return str(value)


_OPTIONS: tuple[Callable[[options.Command], options.Command], ...] = (
    click.option("--image", metavar="IMAGE", help="Of all containers.  [default: littleq:<version>]"),
    click.option("--namespace", default="littleq", show_default=True, metavar="NAME", help="Of all objects."),
    click.option(
        "--modules",
        "-m",
        multiple=True,
        metavar="MODULE",
        help="Your app, as `littleq worker` takes it; may be repeated.  [default: actors]",
    ),
    click.option(
        "--grace",
        type=options.DURATION,
        metavar="TIME",
        help="What running jobs get when their worker shall stop.  [default: the longest time limit of their actors]",
    ),
    click.option(
        "--kubernetes",
        type=_Version(),
        default="1.35",
        show_default=True,
        metavar="VERSION",
        help="The cluster's version: before 1.35 an HPA ignores changes of 10 % or less, and gets a number that steps.",
    ),
    click.option(
        "--prometheus",
        "prometheus_url",
        type=_ServerURL(),
        metavar="URL",
        help="Where the decision is asked for.  [default: http://prometheus-operated.monitoring.svc:9090]",
    ),
    click.option(
        "--match",
        "matchers",
        type=_Checked("matchers", _MATCHERS, 'a list of label matchers, such as cluster="eu",env="prod"'),
        default=None,
        metavar="MATCHERS",
        help='More label matchers of that query, such as namespace="shop".',
    ),
    click.option("--cpu", default="250m", show_default=True, metavar="AMOUNT", help="Requested by a worker."),
    click.option(
        "--memory",
        default="256Mi",
        show_default=True,
        metavar="AMOUNT",
        help="Requested by a worker, and its limit.",
    ),
    click.option(
        "--broker-port",
        "broker_ports",
        type=click.IntRange(1, 65535),
        multiple=True,
        metavar="PORT",
        help="That the controller may connect to; may be repeated.  [default: the configured URL's, else 6379]",
    ),
    click.option(
        "--monitor-label",
        "monitor_labels",
        type=_Checked("label", _LABEL, "a label, such as release=prometheus"),
        multiple=True,
        metavar="KEY=VALUE",
        help="By which your Prometheus finds ServiceMonitors and rules; may be repeated.",
    ),
    click.option(
        "--account-annotation",
        "account_annotations",
        type=_Checked(
            "annotation", _ANNOTATION, "an annotation, such as eks.amazonaws.com/role-arn=arn:aws:iam::…"
        ),
        multiple=True,
        metavar="KEY=VALUE",
        help="Of the ServiceAccounts, such as the role by which pods may use SQS; may be repeated.",
    ),
    click.option(
        "--deletion-cost",
        is_flag=True,
        help="Let the controller tell Kubernetes which worker has the least to lose; takes the right to patch pods.",
    ),
)


def cluster_options(command: options.Command) -> options.Command:
    """All of them, in this order."""
    return reduce(lambda made, option: option(made), reversed(_OPTIONS), command)


def settings_of(config: Config, given: Mapping[str, Any], limits: Mapping[str, TimeLimit]) -> Settings:
    """What the options say, and the configuration where they do not."""
    from littleq import __version__
    from littleq.manifests.ports import broker_ports
    from littleq.manifests.settings import PROMETHEUS_URL, Settings

    labels = dict(label.split("=", 1) for label in given["monitor_labels"])
    return Settings(
        image=given["image"] or f"littleq:{__version__}",
        namespace=given["namespace"],
        modules=given["modules"] or DEFAULT_MODULES,
        kubernetes=given["kubernetes"],
        prometheus_url=given["prometheus_url"] or PROMETHEUS_URL,
        matchers=given["matchers"] or "",
        cpu=given["cpu"],
        memory=given["memory"],
        broker_ports=given["broker_ports"] or broker_ports(config),
        deletion_cost=given["deletion_cost"],
        grace=given["grace"],
        time_limits=limits,
        monitor_labels=labels,
        account_annotations=dict(each.split("=", 1) for each in given["account_annotations"]),
    )
