"""Where settings come from, and which source wins.

    defaults  <  pyproject.toml [tool.littleq]  <  littleq.toml  <  LITTLEQ_* variables  <  Python

Each source is flattened to leaves (`queues.realtime.sla_seconds`), a higher leaf replaces a lower one, and the result
is checked as a whole. A leaf remembers where it came from, so that `littleq config show` and every message can tell.

The files are looked for in the current folder and then in its parents, up to the first folder that holds a
`littleq.toml` or a `pyproject.toml` with a [tool.littleq] table; both count if both are there. A `pyproject.toml` of
somebody else does not stop the search. `path`, or else LITTLEQ_CONFIG, names one file instead, which must exist.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, get_origin

from littleq import config_environment
from littleq.config import Config, SLAQueueConfig
from littleq.config_messages import (
    InvalidSettings,
    Path,
    base_type,
    dotted,
    join,
    legal_values,
    setting_names,
    show,
    toml_key,
    unknown,
)
from littleq.errors import ConfigurationError

DEFAULT = "default"
_OWN_FILE, _SHARED_FILE = "littleq.toml", "pyproject.toml"
_EXPORTER = "exporter_"

_SETTINGS = setting_names(Config)
_QUEUE_SETTINGS = setting_names(SLAQueueConfig)
_TABLES = {name for name in _QUEUE_SETTINGS if get_origin(base_type(SLAQueueConfig, name)) is Mapping}


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value from one source."""

    value: Any
    origin: str  # for `config show`: littleq.toml
    place: str  # for a message: littleq.toml [queues.realtime] sla_seconds


@dataclass(frozen=True)
class Loaded:
    """A configuration, and where it came from.

    Attributes:
        files: those that were read, lowest first.
        origins: the source of every value that is not a default, by its dotted name.
    """

    config: Config
    files: tuple[FilePath, ...]
    origins: Mapping[str, str]

    def origin(self, path: Path) -> str:
        return self.origins.get(dotted(path), DEFAULT)


@dataclass(frozen=True, slots=True)
class _Source:
    origin: str
    place: Callable[[Path], str]
    settings: list[str]  # the legal names on its top level

    def leaf(self, path: Path, value: Any) -> Leaf:
        return Leaf(value, self.origin, self.place(path))


def load_config(
    *,
    path: FilePath | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """The configuration of this process, from all sources.

    Args:
        path: the one file to read, instead of those that are found.
        environ: environment variables; default: those of the process.
        overrides: settings from Python, which win over all others. `queues` is a mapping of names to settings or to
            an `SLAQueueConfig`, or an iterable of those; of an `SLAQueueConfig` the arguments that were given count.

    Raises:
        ConfigurationError: a file or a setting is wrong; one sentence, with the place.
    """
    return load(path=path, environ=environ, overrides=overrides).config


def load(
    *,
    path: FilePath | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    overrides_from: str = "Python",
    folder: FilePath | None = None,
) -> Loaded:
    """As `load_config`, with the origin of each value.

    Args:
        overrides_from: what to call the origin of `overrides`.
        folder: where the search for files begins; default: the current folder.
    """
    environ = os.environ if environ is None else environ
    wrong: list[str] = []
    files = _files(path, environ, folder)
    layers = [_file_leaves(file, label, table, wrong) for file, label, table in files]
    layers.append(_python_leaves(overrides or {}, overrides_from, wrong))
    queues = {name for layer in layers for kind, name, *_ in layer if kind == "queues"}
    variables, wrong_variables = config_environment.environment_settings(environ, queues)
    environment = {
        where: Leaf(value, variable, config_environment.place(variable))
        for where, (variable, value) in variables.items()
    }
    layers.insert(-1, environment)
    leaves = {where: leaf for layer in layers for where, leaf in layer.items()}
    config = _config(leaves, wrong := wrong + wrong_variables)
    if config is None or wrong:
        raise ConfigurationError(join(wrong))
    origins = {dotted(where): leaf.origin for where, leaf in leaves.items()}
    return Loaded(config, tuple(file for file, _, _ in files), origins)
