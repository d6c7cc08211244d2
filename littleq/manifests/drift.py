"""What others have, held against what is wanted: a line for each field that differs.

Only fields that we render are compared. A server adds defaults, a status and much more; a user may add fields of their
own: neither is drift. Lists whose items have names are matched by these, so a container that somebody else injects is
none either.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from littleq.manifests.objects import WORKER, Object

#: What tells the items of a list apart, by the name of the list.
_KEYS: Final[Mapping[str, str]] = {
    "containers": "name",
    "env": "name",
    "ports": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "secretTargetRef": "parameter",
    "groups": "name",
    "external": "seriesQuery",
}
#: Fields that hold quantities, which a server writes in its own way: 0.5 becomes 500m.
_QUANTITIES: Final = frozenset({"cpu", "memory", "storage", "tolerance", "averageValue"})
_SUFFIXES: Final = {
    "m": Decimal("0.001"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
}
#: Objects about the workers of one queue, which may be gone from the configuration.
_PER_QUEUE: Final = frozenset(
    {"Deployment", "PodDisruptionBudget", "ScaledObject", "HorizontalPodAutoscaler"}
)
_LONGEST = 80
_NOTHING = object()


def drifts(wanted: Sequence[Object], there: Sequence[Object]) -> Iterator[str]:
    """Lines about objects that are not as they should be, are missing, or should not be there.

    Args:
        there: objects of any kind; those that are not ours are passed over.
    """
    for each in wanted:
        name = _name(each)
        found = _find(each, there)
        if found is None:
            yield f"{name}: not there"
            continue
        for path, actual, value in _differences(each, found, ""):
            yield f"{name} {path}: {_compared(actual, value)}"
    names = {_name(each) for each in wanted}
    for each in there:
        if _is_of_a_worker(each) and _name(each) not in names:
            yield f"{_name(each)}: there, not wanted"


def _name(each: Object) -> str:
    metadata = each.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f"{each.get('kind', 'document')} {name}" if name else str(each.get("kind", "document"))


def _find(wanted: Object, there: Sequence[Object]) -> Object | None:
    """The object of that kind and name, in that namespace or (from a file) in none."""
    namespace = wanted.get("metadata", {}).get("namespace")
    same = [each for each in there if _name(each) == _name(wanted)]
    for each in same:
        if each.get("metadata", {}).get("namespace", namespace) == namespace:
            return each
    return None


def _is_of_a_worker(each: Object) -> bool:
    metadata = each.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return each.get("kind") in _PER_QUEUE and str(name).startswith(f"{WORKER}-")


Difference = tuple[str, Any, Any]


def _differences(wanted: Any, there: Any, path: str) -> Iterator[Difference]:
    if isinstance(wanted, dict) and isinstance(there, dict):
        for key, value in wanted.items():
            yield from _differences(value, there.get(key, _NOTHING), _step(path, str(key)))
    elif isinstance(wanted, list) and isinstance(there, list):
        yield from _in_lists(wanted, there, path)
    elif wanted == [] and there in (_NOTHING, None):
        return  # a server leaves out an empty list
    elif not _equal(wanted, there, path):
        yield path, there, wanted


def _in_lists(wanted: list[Any], there: list[Any], path: str) -> Iterator[Difference]:
    key = _KEYS.get(path.rpartition(".")[2])
    if key and all(isinstance(item, dict) and key in item for item in (*wanted, *there)):
        by_key = {item[key]: item for item in there}
        for item in wanted:
            yield from _differences(item, by_key.get(item[key], _NOTHING), f"{path}[{item[key]}]")
    elif len(wanted) != len(there):
        yield path, there, wanted
    else:
        for number, (item, other) in enumerate(zip(wanted, there, strict=True)):
            yield from _differences(item, other, f"{path}[{number}]")


def _step(path: str, key: str) -> str:
    if "." in key or "/" in key:
        return f'{path}["{key}"]'
    return f"{path}.{key}" if path else key


def _equal(wanted: Any, there: Any, path: str) -> bool:
    if type(wanted) is type(there) and wanted == there:
        return True
    if path.rpartition(".")[2] not in _QUANTITIES:
        return False
    amount = _amount(wanted)
    return amount is not None and amount == _amount(there)


def _amount(quantity: Any) -> Decimal | None:
    """A quantity of Kubernetes as a number; None for what is none."""
    text = str(quantity)
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if text.endswith(suffix):
            text, factor = text.removesuffix(suffix), _SUFFIXES[suffix]
            break
    else:
        factor = Decimal(1)
    try:
        return Decimal(text) * factor
    except InvalidOperation:
        return None


def _compared(there: Any, wanted: Any) -> str:
    if there is _NOTHING:
        return f"not there, {_shown(wanted)} wanted"
    if isinstance(there, str) and isinstance(wanted, str) and "\n" in there + wanted:
        return _compared_lines(there.splitlines(), wanted.splitlines())
    return f"{_shown(there)} there, {_shown(wanted)} wanted"


def _compared_lines(there: list[str], wanted: list[str]) -> str:
    """The first line that differs."""
    pairs = zip([*there, None], [*wanted, None], strict=False)
    number, (other, line) = next(
        ((number, pair) for number, pair in enumerate(pairs, start=1) if pair[0] != pair[1]),
        (len(wanted), (None, None)),  # they differ in how the lines end
    )
    shown = ["nothing" if text is None else _shown(text) for text in (other, line)]
    return f"line {number}: {shown[0]} there, {shown[1]} wanted"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = json.dumps(text, ensure_ascii=False) if isinstance(value, str) and text.strip() != text else text
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
