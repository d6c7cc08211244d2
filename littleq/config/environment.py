"""Settings from environment variables: the names, and text to values.

    LITTLEQ_<SETTING>                           LITTLEQ_URL=redis://db:6379/0
    LITTLEQ_QUEUES__<QUEUE>__<SETTING>          LITTLEQ_QUEUES__REALTIME__SLA_SECONDS=0.5
    a table                                     …__RETRY_ROUTES="TimeoutError=retry,shop.Refused=dead"

An empty variable counts as not set, since `LITTLEQ_URL=${URL:-}` is how shells and compose files pass nothing
on. Kubernetes puts the address of each Service into every pod of its namespace; the variables of a Service
named `littleq…` look like ours, and are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, get_origin

from littleq.config.messages import (
    SettingPath,
    base_type,
    item_type,
    legal_values,
    setting_names,
    show,
    unknown,
)
from littleq.config.models import Config, SLAQueueConfig

PREFIX = "LITTLEQ_"
CONFIG_VARIABLE = "LITTLEQ_CONFIG"
_QUEUES = "LITTLEQ_QUEUES__"

#: Variables that other parts of LittleQ, and its reference app, read.
OTHER_VARIABLES = frozenset(
    {
        CONFIG_VARIABLE,
        "LITTLEQ_DATA_DIR",
        "LITTLEQ_ACTORS_DIR",
        "LITTLEQ_PULSE_DIR",
        "LITTLEQ_TERMINATION_LOG",
    }
)

#: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_KUBERNETES_NAME = re.compile(
    r"LITTLEQ(_[A-Z0-9_]*)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_KUBERNETES_ADDRESS = re.compile(r"(tcp|udp|sctp)://")

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")

_SETTINGS = [name for name in setting_names(Config) if name != "queues"]
_QUEUE_SETTINGS = [name for name in setting_names(SLAQueueConfig) if name != "name"]


class WrongVariable(Exception):
    """A variable that is not a setting; the text is the end of a sentence that begins with its name."""


def environment_settings(
    environ: Mapping[str, str], queues: Collection[str]
) -> tuple[dict[SettingPath, tuple[str, Any]], list[str]]:
    """The settings in `environ`.

    Args:
        environ: all variables; what does not begin with `LITTLEQ_` is passed over.
        queues: queues that other sources configure, whose names a variable can only spell roughly.

    Returns:
        The variable and its value by the path of the setting, and a sentence for each wrong variable. A text
        that is no value of its setting's type stays a text, and the model refuses it like any other.
    """
    found: dict[SettingPath, tuple[str, Any]] = {}
    wrong = []
    for variable in sorted(environ):
        text = environ[variable].strip()
        if not text or not variable.startswith(PREFIX) or _is_foreign(variable, text):
            continue
        try:
            for path, value in _settings(variable, text, queues):
                found[path] = (variable, value)
        except WrongVariable as error:
            wrong.append(f"{place(variable)} {error}")
    return found, wrong


def place(variable: str) -> str:
    """How a message names a variable."""
    return f"environment variable {variable}"


def _is_foreign(variable: str, text: str) -> bool:
    if variable in OTHER_VARIABLES:
        return True
    if variable.startswith(_QUEUES):
        return False
    address = variable.endswith("_PORT") and _KUBERNETES_ADDRESS.match(text)
    return bool(address or _KUBERNETES_NAME.fullmatch(variable))


def _settings(variable: str, text: str, queues: Collection[str]) -> Iterator[tuple[SettingPath, Any]]:
    if variable.startswith(_QUEUES):
        queue, _, setting = variable.removeprefix(_QUEUES).rpartition("__")
        yield from _queue_settings(queue, setting.lower(), text, queues)
        return
    setting = variable.removeprefix(PREFIX).lower()
    if setting not in _SETTINGS:
        others = [name.removeprefix(PREFIX).lower() for name in sorted(OTHER_VARIABLES)]
        raise WrongVariable(unknown(setting.partition("__")[0], [*_SETTINGS, "queues", *others], _spelled))
    yield (setting,), _value(text, base_type(Config, setting))


def _spelled(setting: str) -> str:
    return f"{_QUEUES}<QUEUE>__<SETTING>" if setting == "queues" else f"{PREFIX}{setting.upper()}"


def _queue_settings(
    queue: str, setting: str, text: str, queues: Collection[str]
) -> Iterator[tuple[SettingPath, Any]]:
    name = _queue_name(queue, queues)
    if setting not in _QUEUE_SETTINGS or not queue:
        spelled = f"{_QUEUES}{queue or '<QUEUE>'}__"
        raise WrongVariable(unknown(setting, _QUEUE_SETTINGS, lambda other: f"{spelled}{other.upper()}"))
    kind = base_type(SLAQueueConfig, setting)
    if get_origin(kind) is not Mapping:
        yield ("queues", name, setting), _value(text, kind)
        return
    for pair in text.split(","):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals:
            raise WrongVariable(
                f"is {show(text)}: it must be {legal_values(SLAQueueConfig, setting)}; "
                "write it as NAME=VALUE, with commas between the pairs"
            )
        yield ("queues", name, setting, key), _value(value, item_type(SLAQueueConfig, setting))


def _queue_name(spelled: str, queues: Collection[str]) -> str:
    """The configured queue that is meant, or the name of a new one."""
    fitting = sorted(name for name in queues if re.sub(r"[-.]", "_", name).upper() == spelled.upper())
    if len(fitting) > 1:
        raise WrongVariable(
            f"fits more than one queue ({', '.join(fitting)}): it must fit one; "
            "set this value in littleq.toml"
        )
    return fitting[0] if fitting else spelled.lower()


def _value(text: str, kind: Any) -> Any:
    """The text as a value of this type; the text itself where it is none."""
    if kind is bool:
        return True if text.lower() in _TRUE else False if text.lower() in _FALSE else text
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            return text
    return text
