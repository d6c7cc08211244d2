"""A configuration as it is shown: every setting with its origin, what follows from it, and as TOML.

Nothing here holds a secret: URLs are redacted before they enter a `Setting`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from littleq.config.files import EXPORTER
from littleq.config.kinds import IN_MEMORY, NO_LEDGER
from littleq.config.messages import SettingPath, dotted, setting_names, toml_key, toml_string
from littleq.config.models import Config, SLAQueueConfig
from littleq.config.sources import Loaded
from littleq.redaction import HIDDEN, SECRET_SETTINGS, redact_url

#: What there is not, where no process sees the counts of another.
WITHOUT_LEDGER = (
    "Without a ledger that processes share there are no fleet-wide metrics, no admission by the capacity of workers in "
    "other processes, no autoscaling, no counting of poison jobs across workers, no `littleq audit` and no `littleq "
    "monitor`. To have them: "
    'ledger_url = "redis://…" (any Redis or Valkey), or "embedded://" where all processes are on one machine.'
)
_EMBEDDED = ", for the processes of this user on this machine only"

#: Origin of what is computed from other settings.
DERIVED = "derived"


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of `littleq config show`."""

    path: SettingPath
    value: Any  # a TOML value, or None where nothing is set
    origin: str

    @property
    def name(self) -> str:
        """The dotted name, as TOML spells it."""
        return dotted(self.path)


def describe_config(loaded: Loaded) -> Iterator[Setting]:
    """Every setting, its value and its origin; then, for each queue, what is derived from them."""
    config = loaded.config
    for name in setting_names(Config):
        if name == "queues":
            continue
        value = getattr(config, name)
        shown = redact_url(value) if isinstance(value, str) else value
        if name in SECRET_SETTINGS and value is not None:
            shown = HIDDEN
        yield Setting((name,), shown, loaded.origin((name,)))
    for key, queue in config.queues.items():
        for name in setting_names(SLAQueueConfig):
            if name != "name":
                yield from _entries(("queues", key, name), getattr(queue, name), loaded)
        for name, value in derived(queue).items():
            yield Setting(("queues", key, name), value, DERIVED)


def _entries(path: SettingPath, value: Any, loaded: Loaded) -> Iterator[Setting]:
    if not isinstance(value, Mapping) or not value:
        yield Setting(path, dict(value) if isinstance(value, Mapping) else value, loaded.origin(path))
        return
    for key, item in value.items():
        yield Setting((*path, key), item, loaded.origin((*path, key)))


def derived(queue: SLAQueueConfig) -> dict[str, float | str]:
    """What follows from a queue's settings alone.

    `queue_limit` is L = λ × SLA, in jobs, where admission goes by contract: elsewhere it depends on the live
    workers. `offered_load` is a = λS, in erlangs, where both are declared.
    """
    found: dict[str, float | str] = {"admission_mode": queue.admission_mode}
    if queue.arrival_rate is not None and queue.admission_mode == "contract":
        found["queue_limit"] = queue.arrival_rate * queue.sla_seconds
    if queue.arrival_rate is not None and queue.service_time_seconds is not None:
        found["offered_load"] = queue.arrival_rate * queue.service_time_seconds
    return found


def ledger_place(loaded: Loaded) -> str:
    """Where the counts of all processes are kept, in words."""
    config = loaded.config
    url, origin = config.url, loaded.origin(("url",))
    scheme = url.partition("://")[0]
    why = f"the broker's server, url from {origin}; ledger_url is not set"
    if config.ledger_url is not None:
        url, why = config.ledger_url, f"ledger_url from {loaded.origin(('ledger_url',))}"
    elif scheme in NO_LEDGER:
        why = f"{scheme}:// keeps none, url from {origin}; ledger_url is not set"
    kept = url.partition("://")[0]
    if kept not in (*IN_MEMORY, *NO_LEDGER):
        return f"{redact_url(url)} ({why}){_EMBEDDED if kept == 'embedded' else ''}"
    place = f"the memory of each process by itself, lost at its end ({why})"
    return f"{place if kept in NO_LEDGER else f'{url}, {place}'}. {WITHOUT_LEDGER}"


def to_toml(settings: Iterable[Setting]) -> str:
    """Settings as a `littleq.toml`, the origins as comments; what is not set or derived is a comment too."""
    tables: dict[SettingPath, list[str]] = {}
    for setting in settings:
        path = setting.path
        if path[0].startswith(EXPORTER):
            path = ("exporter", path[0].removeprefix(EXPORTER))
        tables.setdefault(path[:-1], []).append(_toml_line(path[-1], setting))
    blocks = []
    for table, lines in tables.items():
        blocks.append("\n".join(([f"[{dotted(table)}]"] if table else []) + lines))
    return "\n\n".join(blocks) + "\n"


def _toml_line(key: str, setting: Setting) -> str:
    if setting.value is None:
        return f"# {key} is not set"
    comment = "# " if setting.origin == DERIVED else ""
    return f"{comment}{toml_key(key)} = {_toml_value(setting.value)}  # {setting.origin}"


def _toml_value(value: Any) -> str:
    if isinstance(value, str):
        return toml_string(value)
    if isinstance(value, bool):
        return str(value).lower()
    return "{}" if value == {} else repr(value)
