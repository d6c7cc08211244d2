"""The ConfigMap: littleq.toml as it is in force, without the secrets."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any, Final

from littleq.config import Config, SLAQueueConfig
from littleq.config.files import EXPORTER
from littleq.config.messages import dotted, setting_names, toml_key, toml_string
from littleq.manifests.fleet import Fleet
from littleq.manifests.objects import CONFIG, Object, make_object

#: Never in a ConfigMap, which more people may read than a Secret: variables of the containers give them.
SECRETS: Final = frozenset({"url", "ledger_url", "exporter_token"})
#: What the containers' variables say, for each of them differently.
_BY_CONTAINER: Final = frozenset({"exporter_enabled", "exporter_host", "pod_deletion_cost", "pod_namespace"})

HEAD = "# The settings in force, without URLs and tokens: those are in Secrets. What is not here has its default."


def config_map(fleet: Fleet) -> Object:
    """ConfigMap `littleq-config`, mounted at /etc/littleq."""
    return make_object(
        "v1",
        "ConfigMap",
        CONFIG,
        fleet.settings.namespace,
        data={"littleq.toml": settings_toml(fleet.config)},
    )


def checksum(config: Config) -> str:
    """What changes when the ConfigMap does."""
    return hashlib.sha256(settings_toml(config).encode()).hexdigest()


def settings_toml(config: Config) -> str:
    """A littleq.toml that makes the same configuration, secrets and what the containers set apart.

    >>> from littleq.config import SLAQueueConfig
    >>> print(settings_toml(Config(queues={"mail": SLAQueueConfig("mail", sla_seconds=5)})).partition("\\n")[2])
    <BLANKLINE>
    [queues.mail]
    sla_seconds = 5
    <BLANKLINE>
    """
    top, exporter = [], []
    for name, value in _changed(config).items():
        if name in SECRETS or name in _BY_CONTAINER or name == "queues":
            continue
        if name == "exporter_port" and value == 0:
            continue  # any free port: the Service has to know it
        if name.startswith(EXPORTER):
            exporter.append(_line(name.removeprefix(EXPORTER), value))
        else:
            top.append(_line(name, value))
    blocks = [[HEAD, *top]]
    if exporter:
        blocks.append(["[exporter]", *exporter])
    for name in sorted(config.queues):
        blocks.append([f"[{dotted(('queues', name))}]", *_queue_lines(config.queues[name])])
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _queue_lines(queue: SLAQueueConfig) -> list[str]:
    return [_line(name, value) for name, value in _changed(queue).items() if name != "name"]


def _changed(settings: Config | SLAQueueConfig) -> dict[str, Any]:
    """The settings that differ from their defaults, in the order in which they are documented."""
    fields = {field.name: field for field in dataclasses.fields(settings)}
    found = {}
    for name in setting_names(type(settings)):
        value, field = getattr(settings, name), fields[name]
        make = field.default_factory
        default = field.default if make is dataclasses.MISSING else make()
        if value != default:
            found[name] = value
    return found


def _line(name: str, value: Any) -> str:
    return f"{toml_key(name)} = {_toml(value)}"


def _toml(value: Any) -> str:
    if isinstance(value, str):
        return toml_string(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        inside = ", ".join(f"{toml_key(key)} = {_toml(value[key])}" for key in sorted(value))
        return f"{{ {inside} }}"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # 30, as it was written, not 30.0
    return repr(value)
