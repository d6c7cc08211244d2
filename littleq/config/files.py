"""The two files that may hold settings: which ones count, and what is in them.

They are looked for in the current folder and then in its parents, up to the first folder that holds a
`littleq.toml` or a `pyproject.toml` with a [tool.littleq] table; both count if both are there. A
`pyproject.toml` of somebody else does not stop the search. One file can be named instead; it must exist.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from littleq.config.environment import CONFIG_VARIABLE
from littleq.config.messages import dotted, show, toml_key
from littleq.errors import ConfigurationError

OWN_FILE, SHARED_FILE = "littleq.toml", "pyproject.toml"
_SHARED_TABLE = ("tool", "littleq")
EXPORTER = "exporter_"


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """A file with settings.

    Attributes:
        label: what messages call it: its name if it is in the current folder, else its path.
        table: the table that holds our settings: () or ("tool", "littleq").
        content: that table.
    """

    path: Path
    label: str
    table: tuple[str, ...]
    content: Mapping[str, Any]

    def place(self, setting: tuple[str, ...]) -> str:
        """Where a setting stands, as a message names it: `littleq.toml [queues.realtime] sla_seconds`."""
        if setting[0].startswith(EXPORTER):
            setting = ("exporter", setting[0].removeprefix(EXPORTER))
        table = (*self.table, *setting[:-1])
        return f"{self.label}{f' [{dotted(table)}]' if table else ''} {toml_key(setting[-1])}"


def settings_files(path: Path | None, environ: Mapping[str, str], folder: Path | None) -> list[SettingsFile]:
    """The files that count, lowest first.

    Args:
        path: the one file to read.
        environ: may name it in LITTLEQ_CONFIG, if `path` does not.
        folder: where the search begins, if neither does; default: the current folder.

    Raises:
        ConfigurationError: a file cannot be read, is not TOML, or was named and is not there.
    """
    named = environ.get(CONFIG_VARIABLE, "").strip()
    if path is not None:
        return [_named(path, f"The configuration file {path}")]
    if named:
        return [
            _named(Path(named).expanduser(), f"environment variable {CONFIG_VARIABLE} is {show(named)}: it")
        ]
    return _found(folder)


def _named(path: Path, subject: str) -> SettingsFile:
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise ConfigurationError(
            f"{subject} {kind}: name a TOML file, or leave it out to have one looked for."
        )
    file = _read(path, str(path))
    if file is None:
        raise ConfigurationError(
            f"{path} has no [{dotted(_SHARED_TABLE)}] table: add one, or name another file."
        )
    return file


def _found(folder: Path | None) -> list[SettingsFile]:
    try:
        start = (folder or Path.cwd()).absolute()
    except FileNotFoundError:  # the current folder has been deleted, as happens to long-lived processes
        return []
    for parent in (start, *start.parents):
        found = []
        for name in (SHARED_FILE, OWN_FILE):
            path = parent / name
            if _is_there(path) and (file := _read(path, name if parent == start else str(path))):
                found.append(file)
        if found:
            return found
    return []


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a parent folder that we may not enter holds nothing for us
        return False


def _read(path: Path, label: str) -> SettingsFile | None:
    """The file's settings; None for a `pyproject.toml` without any."""
    content = _parse(path, label)
    if path.name != SHARED_FILE:
        return SettingsFile(path, label, (), content)
    for depth, key in enumerate(_SHARED_TABLE, start=1):
        if key not in content:
            return None
        content = content[key]
        if not isinstance(content, dict):
            name = dotted(_SHARED_TABLE[:depth])
            raise ConfigurationError(
                f"{label} {name} is {show(content)}: it must be a table; "
                f"write [{dotted(_SHARED_TABLE)}] above the settings."
            )
    return SettingsFile(path, label, _SHARED_TABLE, content)


def _parse(path: Path, label: str) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode("utf-8-sig")  # some editors write a byte order mark
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{label} is not UTF-8 text (byte {error.start}): save it in that encoding."
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"{label} cannot be read ({error.strerror}): allow it, or name another file in {CONFIG_VARIABLE}."
        ) from None
    try:
        return tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError is one; so is what a number of thousands of digits raises
        last = f"at line {len(text.splitlines()) or 1}, the last"
        reason = str(error).replace("at end of document", last)
        raise ConfigurationError(
            f"{label} is not valid TOML: {reason[:1].lower()}{reason[1:]}; correct that line."
        ) from None
