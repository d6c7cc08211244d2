"""Manifests against strict schemas: no field that nobody knows, no trigger key that KEDA would pass over in silence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate

FOLDER = Path(__file__).parent
KUBERNETES = "1.36"
#: Keys of any trigger that asks over HTTP with authentication.
_AUTHENTICATION = {"authMode", "authModes", "apiKey", "method", "keyParamName"}
#: Triggers that hand on whatever key they are given.
_OPEN = ("external", "external-push")


def mistakes(document: dict[str, Any], kubernetes: str = KUBERNETES) -> list[str]:
    """A line for each thing that is wrong with a manifest."""
    schema = _schema(document)
    if schema is None:
        return list(_of_kubernetes(document, kubernetes))
    found = [
        f"{'/'.join(map(str, error.path))}: {error.message}"
        for error in jsonschema.Draft202012Validator(schema).iter_errors(document)
    ]
    if document["kind"] == "ScaledObject" and not found:
        for number, trigger in enumerate(document["spec"]["triggers"]):
            found += [f"spec/triggers/{number}: {text}" for text in _of_a_trigger(trigger)]
    return sorted(found)


def _schema(document: dict[str, Any]) -> dict[str, Any] | None:
    group, _, version = str(document.get("apiVersion", "")).rpartition("/")
    path = FOLDER / f"{group}_{version}_{str(document.get('kind', '')).lower()}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def _of_kubernetes(document: dict[str, Any], version: str) -> Iterator[str]:
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{'/'.join(map(str, error.path))}: {error.message}"
    except (kubernetes_validate.SchemaNotFoundError, kubernetes_validate.InvalidSchemaError) as error:
        yield f"no schema: {error}"


@cache
def _triggers() -> dict[str, list[dict[str, Any]]]:
    known = json.loads((FOLDER / "keda_scalers_metadata.json").read_text())["scalers"]
    return {scaler["type"]: scaler["parameters"] for scaler in known}


def _of_a_trigger(trigger: dict[str, Any]) -> Iterator[str]:
    """The CRD takes any text for metadata, and so does the server: KEDA's own list of keys knows better."""
    if trigger["type"] not in _triggers():
        yield f"type {trigger['type']!r} is not one of {sorted(_triggers())}"
        return
    parameters, metadata = _triggers()[trigger["type"]], trigger.get("metadata", {})
    names = {parameter["name"] for parameter in parameters}
    known = names | {f"{name}FromEnv" for name in names} | _AUTHENTICATION
    if trigger["type"] not in _OPEN:
        yield from (f"metadata has an unknown key {key!r}" for key in sorted(set(metadata) - known))
    for parameter in parameters:
        name = parameter["name"]
        is_needed = parameter.get("metadataVariableReadable") and not parameter.get("optional")
        if parameter.get("triggerAuthenticationVariableReadable") and "authenticationRef" in trigger:
            is_needed = False  # it may come from there
        if is_needed and "default" not in parameter and not {name, f"{name}FromEnv"} & set(metadata):
            yield f"metadata lacks {name!r}"
        if name in metadata and metadata[name] not in parameter.get("allowedValue", [metadata[name]]):
            yield f"metadata {name} is {metadata[name]!r}, not one of {parameter['allowedValue']}"
