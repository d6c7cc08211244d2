"""What `littleq manifests --check` says."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from littleq.manifests import Fleet

STDIN = "-"


def check(fleet: Fleet, place: str, overlay: str) -> int:
    """Print what differs; the exit code."""
    from littleq.cli.root import without_secrets

    lines = list(
        _folder_drifts(fleet, Path(place))
        if place != STDIN and Path(place).is_dir()
        else _file_drifts(fleet, place, overlay)
    )
    for line in lines:
        click.echo(without_secrets(line))
    if lines:
        return 1
    click.echo(f"{'What stdin holds' if place == STDIN else place} is as littleq.toml has it.")
    return 0


def _folder_drifts(fleet: Fleet, folder: Path) -> Iterable[str]:
    from littleq.manifests.drift import drifts
    from littleq.manifests.tree import tree
    from littleq.manifests.writing import UnreadableError, from_yaml, read

    files = tree(fleet)
    if not any((folder / path).is_file() for path in files):
        raise UnreadableError(
            f"{folder} holds none of the files that --out writes: name the folder given to it."
        )
    for path, file in files.items():
        target = folder / path
        if not target.is_file():
            yield f"{path}: not there"
            continue
        for line in drifts(file.documents, from_yaml(read(target), str(target))):
            yield f"{path}: {line}"
    for path in left_over(folder, files):
        yield f"{path}: there, not wanted"


def _file_drifts(fleet: Fleet, place: str, overlay: str) -> Iterable[str]:
    from littleq.manifests.drift import drifts
    from littleq.manifests.tree import rendered
    from littleq.manifests.writing import UnreadableError, from_yaml, read

    try:
        text = sys.stdin.read() if place == STDIN else read(Path(place))
    except UnicodeDecodeError as error:
        raise UnreadableError(
            f"stdin is not UTF-8 text (byte {error.start}): pipe manifests to it."
        ) from None
    name = "stdin" if place == STDIN else place
    there = from_yaml(text, name)
    if not there:
        raise UnreadableError(
            f"{name} holds no object: give manifests, as `kubectl get -o yaml` prints them."
        )
    return drifts(rendered(fleet, overlay).documents, there)


def left_over(folder: Path, files: Iterable[str]) -> list[str]:
    """Files about the workers of queues that are gone."""
    from littleq.manifests.tree import is_of_a_worker

    there = (path.relative_to(folder).as_posix() for path in folder.glob("base/*.yaml"))
    return sorted(path for path in there if is_of_a_worker(path) and path not in files)
