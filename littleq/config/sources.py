"""Where settings come from, and which source wins.

    defaults  <  pyproject.toml [tool.littleq]  <  littleq.toml  <  LITTLEQ_* variables  <  Python

Each source is flattened to leaves (`queues.realtime.sla_seconds`), a higher leaf replaces a lower one, and
the result is checked as a whole. A leaf remembers where it came from, so that `littleq config show` and every
message can tell. Which files count: `littleq.config.files`. How variables are spelled:
`littleq.config.environment`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_origin

from littleq.config.environment import environment_settings
from littleq.config.environment import place as variable_place
from littleq.config.files import EXPORTER, SettingsFile, settings_files
from littleq.config.messages import (
    InvalidSettings,
    SettingPath,
    base_type,
    dotted,
    join,
    legal_values,
    setting_names,
    show,
    unknown,
)
from littleq.config.models import Config, SLAQueueConfig
from littleq.errors import ConfigurationError

DEFAULT = "default"

_SETTINGS = setting_names(Config)
_QUEUE_SETTINGS = setting_names(SLAQueueConfig)
_TABLES = {name for name in _QUEUE_SETTINGS if get_origin(base_type(SLAQueueConfig, name)) is Mapping}


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value from one source."""

    value: Any
    origin: str  # for `config show`: littleq.toml
    place: str  # for a message: littleq.toml [queues.realtime] sla_seconds


Leaves = dict[SettingPath, Leaf]


@dataclass(frozen=True)
class Loaded:
    """A configuration, and where it came from.

    Attributes:
        files: those that were read, lowest first.
        origins: the source of every value that is not a default, by its dotted name.
    """

    config: Config
    files: tuple[Path, ...]
    origins: Mapping[str, str]

    def origin(self, path: SettingPath) -> str:
        """The source of one value: a file, a variable, `Python` or `default`."""
        return self.origins.get(dotted(path), DEFAULT)


def load_config(
    *,
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """The configuration of this process, from all sources.

    Args:
        path: the one file to read, instead of those that are found.
        environ: environment variables; default: those of the process.
        overrides: settings from Python, which win over all others. `queues` is a mapping of names to settings
            or to `SLAQueueConfig`, or an iterable of those; of an `SLAQueueConfig` the arguments that were
            given count.

    Raises:
        ConfigurationError: a file or a setting is wrong; one sentence, with the place.
    """
    return load(path=path, environ=environ, overrides=overrides).config


def load(
    *,
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    overrides_from: str = "Python",
    folder: Path | None = None,
) -> Loaded:
    """As `load_config`, with the origin of each value.

    Args:
        overrides_from: what to call the origin of `overrides`.
        folder: where the search for files begins; default: the current folder.
    """
    environ = os.environ if environ is None else environ
    wrong: list[str] = []
    files = settings_files(path, environ, folder)
    layers = [_file_leaves(file, wrong) for file in files]
    python = _python_leaves(overrides or {}, overrides_from, wrong)
    queues = {where[1] for layer in (*layers, python) for where in layer if where[0] == "queues"}
    variables, wrong_variables = environment_settings(environ, queues)
    layers += [_variable_leaves(variables), python]
    leaves = {where: leaf for layer in layers for where, leaf in layer.items()}
    wrong += wrong_variables
    config = _config(leaves, wrong)
    if config is None:
        raise ConfigurationError(join(wrong))
    origins = {dotted(where): leaf.origin for where, leaf in leaves.items()}
    return Loaded(config, tuple(file.path for file in files), origins)


@dataclass(frozen=True, slots=True)
class _Flattener:
    """Turns the nested tables of one source into leaves, and collects a sentence for what cannot be one."""

    origin: str
    place: Callable[[SettingPath], str]
    wrong: list[str]

    def leaves(self, tree: Mapping[Any, Any]) -> Leaves:
        return {path: Leaf(value, self.origin, self.place(path)) for path, value in self._top(tree)}

    def refuse(self, path: SettingPath, text: str) -> None:
        self.wrong.append(f"{self.place(path)} {text}")

    def _top(self, tree: Mapping[Any, Any]) -> Iterator[tuple[SettingPath, Any]]:
        for name, value in tree.items():
            if name == "queues":
                for queue, settings in self._table(
                    ("queues",), value, "of queues; write one [queues.NAME] each"
                ):
                    yield ("queues", queue), None  # it exists, even if nothing is set
                    yield from self._queue(("queues", queue), settings)
            elif name in _SETTINGS:
                yield (name,), value
            else:
                self.refuse((str(name),), unknown(str(name), _SETTINGS))

    def _queue(self, where: SettingPath, settings: Any) -> Iterator[tuple[SettingPath, Any]]:
        for name, value in self._table(where, settings, f"of settings; write them under [{dotted(where)}]"):
            path = (*where, name)
            if name not in _QUEUE_SETTINGS:
                # [queues.mail.bulk] is a table in the queue "mail" for TOML
                quoted = f'; a queue of that name is written [queues."{where[-1]}.{name}"]'
                hint = quoted if isinstance(value, Mapping) else ""
                self.refuse(path, f"{unknown(name, _QUEUE_SETTINGS)}{hint}")
            elif name in _TABLES:
                legal = legal_values(SLAQueueConfig, name).removeprefix("a table ")
                for key, item in self._table(path, value, f"{legal}; correct it, or leave it out"):
                    if isinstance(item, Mapping):
                        self.refuse((*path, key), "is a table: write a name with dots in quotes")
                    else:
                        yield (*path, key), item
            else:
                yield path, value

    def _table(self, path: SettingPath, value: Any, legal: str) -> Iterator[tuple[str, Any]]:
        if isinstance(value, Mapping):
            yield from ((str(key), item) for key, item in value.items())
        else:
            self.refuse(path, f"is {show(value)}: it must be a table {legal}")


def _file_leaves(file: SettingsFile, wrong: list[str]) -> Leaves:
    flattener = _Flattener(file.label, file.place, wrong)
    tree: dict[str, Any] = {}
    legal = [name for name in _SETTINGS if not name.startswith(EXPORTER)]
    for name, value in file.content.items():
        if name == "exporter":
            tree |= _exporter(flattener, value)
        elif name in legal:
            tree[name] = value
        elif name in _SETTINGS:
            short = name.removeprefix(EXPORTER)
            table = dotted((*file.table, "exporter"))
            wrong.append(f"{file.label} {name} is not a setting: write {short} under [{table}], or remove it")
        else:
            flattener.refuse((name,), unknown(name, [*legal, "exporter"]))
    return flattener.leaves(tree)


def _exporter(flattener: _Flattener, table: Any) -> dict[str, Any]:
    """The table [exporter] as the settings that Python knows."""
    legal = [name.removeprefix(EXPORTER) for name in _SETTINGS if name.startswith(EXPORTER)]
    if not isinstance(table, Mapping):
        flattener.refuse(
            ("exporter",), f"is {show(table)}: it must be a table; write [exporter] above its settings"
        )
        return {}
    for name in (name for name in table if name not in legal):
        flattener.refuse(("exporter", name), unknown(name, legal))
    return {f"{EXPORTER}{name}": value for name, value in table.items() if name in legal}


def _variable_leaves(variables: Mapping[SettingPath, tuple[str, Any]]) -> Leaves:
    found: Leaves = {}
    for path, (variable, value) in variables.items():
        leaf = Leaf(value, variable, variable_place(variable))
        found[path] = leaf
        if path[0] == "queues":
            found.setdefault(path[:2], leaf)
    return found


def _python_leaves(overrides: Mapping[str, Any], origin: str, wrong: list[str]) -> Leaves:
    flattener = _Flattener(origin, lambda path: f"{origin}: {dotted(path)}", wrong)
    tree = dict(overrides)
    queues = tree.get("queues")
    if isinstance(queues, Iterable) and not isinstance(queues, (str, Mapping)):
        queues = list(queues)
        if all(isinstance(queue, SLAQueueConfig) for queue in queues):
            names = [queue.name for queue in queues]
            for name in sorted({name for name in names if names.count(name) > 1}):
                wrong.append(f"{origin}: queues holds {name!r} more than once: give each queue once")
            queues = {queue.name: queue for queue in queues}
        tree["queues"] = queues
    if isinstance(queues, Mapping):
        tree["queues"] = {name: _given(settings) for name, settings in queues.items()}
    return flattener.leaves(tree)


def _given(settings: Any) -> Any:
    """The settings that a queue's configuration was made with, without the defaults it filled in."""
    if not isinstance(settings, SLAQueueConfig):
        return settings
    return {name: getattr(settings, name) for name in _QUEUE_SETTINGS if name in settings.given}


def _config(leaves: Leaves, wrong: list[str]) -> Config | None:
    """The checked result of a merge; None, and a sentence for each problem in `wrong`, if there is one."""
    values: dict[str, Any] = {}
    tables: dict[str, dict[str, Any]] = {}
    for (first, *rest), leaf in leaves.items():
        if first != "queues":
            values[first] = leaf.value
            continue
        table = tables.setdefault(rest[0], {})
        if len(rest) == 2:
            table[rest[1]] = leaf.value
        elif len(rest) == 3:
            table.setdefault(rest[1], {})[rest[2]] = leaf.value
    queues: dict[str, SLAQueueConfig] = {}
    for name, table in tables.items():
        try:
            queues[name] = SLAQueueConfig(**{"name": name, **table})
        except InvalidSettings as error:
            wrong += _placed(error, ("queues", name), leaves)
    try:
        config = Config(**values, queues=queues)
    except InvalidSettings as error:
        wrong += _placed(error, (), leaves)
    return None if wrong else config


def _placed(error: InvalidSettings, where: SettingPath, leaves: Leaves) -> Iterator[str]:
    """The problems of one object, each with the place that the value came from."""
    for problem in error.problems:
        path = (*where, *problem.path)
        leaf = leaves.get(path) or leaves.get(path[:2])
        yield f"{leaf.place if leaf else dotted(path)} {problem.text}"
