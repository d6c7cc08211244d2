"""YAML that people read: block style, in the order in which it was made, texts of several lines as they are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from littleq.errors import LittleQError

#: Texts that some reader of YAML takes for a number or a truth value, though PyYAML writes them without quotes: YAML
#: has changed over time, and an old kubectl reads `n` as false.
_AMBIGUOUS = re.compile(r"[-+.]?\d[\d_.,:eExXoOa-fA-F+-]*|[yYnN]|[oO][nN]|[oO][fF][fF]")

#: What YAML cannot hold, or takes for the end of a line, unless it is escaped.
_UNUSUAL = re.compile("[^\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_TEXT = "tag:yaml.org,2002:str"


class _Dumper(yaml.SafeDumper):
    """Writes what it is given, each time anew: an anchor would be one more thing to follow."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        return super().increase_indent(flow, indentless=False)  # items stand in from their key


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = None
    if _UNUSUAL.search(value):
        style = '"'
    elif "\n" in value and not re.search(r"[ \t](\n|$)", value):
        style = "|"
    elif _AMBIGUOUS.fullmatch(value) or _resolved(dumper, value) != _TEXT:
        style = '"'
    return dumper.represent_scalar(_TEXT, value, style=style)


def _resolved(dumper: yaml.SafeDumper, value: str) -> str:
    """What PyYAML itself would read without quotes."""
    return str(dumper.resolve(yaml.ScalarNode, value, (True, False)))  # type: ignore[no-untyped-call]


_Dumper.add_representer(str, _text)


class UnreadableError(LittleQError):
    """A file that should hold manifests does not."""


def to_yaml(documents: Iterable[Any], head: str | None = None) -> str:
    """Documents as YAML, with a comment above."""
    bodies = (
        yaml.dump(
            document,
            Dumper=_Dumper,
            sort_keys=False,
            default_flow_style=False,
            allow_unicode=True,
            width=10_000,
        )
        for document in documents
    )
    text = "---\n".join(bodies)
    return f"# {head}\n{text}" if head else text


def from_yaml(text: str, place: str) -> list[Any]:
    """The documents of a text, `kind: List` taken apart, without empty ones.

    Raises:
        UnreadableError: it is not YAML, or holds something else than objects.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        documents = [document for document in yaml.load_all(text, Loader=loader) if document is not None]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise UnreadableError(
            f"{place} is not YAML{where}: give manifests, as `kubectl get -o yaml` prints them."
        ) from None
    found: list[Any] = []
    for document in documents:
        if not isinstance(document, dict):
            raise UnreadableError(
                f"{place} holds {document!r:.60}, which is no object: give manifests, as `kubectl get -o yaml` prints "
                "them."
            )
        if str(document.get("kind", "")).endswith("List") and isinstance(document.get("items"), list):
            found += [item for item in document["items"] if isinstance(item, dict)]
        else:
            found.append(document)
    return found


def read(path: Path) -> str:
    """The text of a file.

    Raises:
        UnreadableError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableError(f"{path} is not UTF-8 text (byte {error.start}): give manifests.") from None
    except OSError as error:
        raise UnreadableError(
            f"{path} cannot be read ({error.strerror}): name a file or folder with manifests, or - for stdin."
        ) from None
