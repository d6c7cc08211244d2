"""What is wrong with a setting, in one sentence: the place, the value seen, what is legal, the next step.

The legal values are read from the model's own annotations, so that a message, the documentation and the check
itself cannot disagree.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from littleq.errors import ConfigurationError
from littleq.redaction import HIDDEN, SECRET_SETTINGS, redact_url

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

SettingPath = tuple[str, ...]  # of a setting: ("queues", "realtime", "sla_seconds")

#: Longest value and most problems that one message shows: somewhat arbitrary, a few lines of a terminal.
_LONGEST_VALUE = 80
_MOST_PROBLEMS = 5

#: What may be quoted; the `repr` of anything else can be long, and can hold a secret.
_PLAIN = (str, bool, int, float, type(None), dict, list, tuple)


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One wrong setting: where it is, and the rest of the sentence, which goes on after the place."""

    path: SettingPath
    text: str


class InvalidSettings(ConfigurationError):
    """Settings that were refused, kept apart so that a caller who knows better can name the places."""

    def __init__(self, message: str, problems: Iterable[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)

    @classmethod
    def at(cls, place: str, problems: Sequence[Problem]) -> InvalidSettings:
        """All problems of one object, which stands at `place`."""
        return cls(join(f"{place} {dotted(problem.path)} {problem.text}" for problem in problems), problems)


def one_sentence(error: ValidationError, place: str, model: type | None = None) -> str:
    """All that pydantic found, as one sentence.

    Args:
        error: what a validation of `model` raised.
        place: what precedes the setting's name: a file and a table, a call.
        model: the class that was validated; without it only pydantic's own words can be given.
    """
    return str(InvalidSettings.at(place, problems_in(error, model)))


def join(sentences: Iterable[str]) -> str:
    """Sentences without their full stops, as one; the first few where there are many."""
    found = list(sentences)
    more = len(found) - _MOST_PROBLEMS
    return "; ".join(found[:_MOST_PROBLEMS]) + (f"; and {more} more" if more > 0 else "") + "."


def problems_in(error: ValidationError, model: type | None = None) -> list[Problem]:
    """What pydantic found, as problems of the settings of `model`."""
    return [_problem(details, model) for details in error.errors(include_url=False, include_context=False)]


def _problem(details: ErrorDetails, model: type | None) -> Problem:
    names = setting_names(model) if model else []
    first, *rest = details["loc"] or ("",)
    name = names[first] if isinstance(first, int) and first < len(names) else str(first)
    path = (name, *(str(part) for part in rest if part != "[key]"))
    kind = details["type"]
    seen = HIDDEN if name in SECRET_SETTINGS else show(details["input"])
    if kind == "unexpected_keyword_argument":
        return Problem(path, unknown(name, names))
    if model is None or name not in names or "argument" in kind:
        return Problem(path, f"is {seen}: {details['msg'][0].lower()}{details['msg'][1:]}")
    legal = legal_values(model, name)
    if rest:
        key, item = (_legal(part) for part in get_args(base_type(model, name)))
        legal = key if rest[-1] == "[key]" else item
    if kind == "missing":
        return Problem(path, f"is missing: it must be {legal}; give one")
    if kind == "finite_number":
        legal = legal.replace("number", "finite number")
    return Problem(path, f"is {seen}: it must be {legal}; {next_step(model, path)}")


def next_step(model: type, path: SettingPath) -> str:
    """What to do about a wrong value."""
    default = None if len(path) > 1 else default_of(model, path[0])
    if default is dataclasses.MISSING:
        return "correct it"
    known = "" if default is None else f" for the default ({default_text(model, path[0])})"
    return f"correct it, or leave it out{known}"


def unknown(name: str, legal: Collection[str], spelled: Callable[[str], str] = str) -> str:
    """The end of a sentence about a setting that does not exist.

    Its value is not quoted: it does not help, and may be a secret under a name that LittleQ cannot know.
    """
    wanted = re.sub(r"\W", "_", name.lower())
    words = set(wanted.split("_"))
    # A slip of one letter goes before words in common: `queue` is meant as `queues`, not as `control_queue`.
    near = difflib.get_close_matches(wanted, legal, n=1, cutoff=0.9)
    near = near or [other for other in legal if words <= (own := set(other.split("_"))) or own <= words][:3]
    near = near or difflib.get_close_matches(wanted, legal, n=1, cutoff=0.6)
    if not near and len(wanted) > 2:
        near = [other for other in legal if wanted in other or other in wanted][:3]
    names = " or ".join(spelled(other) for other in near) or ", ".join(spelled(other) for other in legal)
    return f"is not a setting: use {'' if near else 'one of '}{names}, or remove it"


def show(value: Any) -> str:
    """A value as a message quotes it: short, and without secrets."""
    text = repr(_redacted(value)) if isinstance(value, _PLAIN) else f"an object of {type(value).__name__}"
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact_url(value)
    if isinstance(value, dict):
        return {_redacted(key): _redacted(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_redacted(item) for item in value]
    return value


def toml_key(key: str) -> str:
    """A key as TOML spells it: quoted only where it must be, and a URL (which is no legal key) redacted."""
    key = redact_url(key)
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml_string(key)


def toml_string(text: str) -> str:
    """A TOML basic string: JSON's, but that DEL is escaped too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def dotted(path: SettingPath) -> str:
    """A path as TOML spells it.

    >>> dotted(("queues", "mail.bulk", "sla_seconds"))
    'queues."mail.bulk".sla_seconds'
    """
    return ".".join(toml_key(key) for key in path)


def setting_names(model: type) -> list[str]:
    """The settings of a model, in the order of its positional arguments."""
    return [setting.name for setting in dataclasses.fields(model)]


def default_of(model: type, name: str) -> Any:
    """The default of a setting; `dataclasses.MISSING` where it has none."""
    setting = next(setting for setting in dataclasses.fields(model) if setting.name == name)
    if setting.default_factory is not dataclasses.MISSING:
        return setting.default_factory()
    return setting.default


def default_text(model: type, name: str) -> str:
    """The default of a setting, as documentation and messages write it."""
    default = default_of(model, name)
    if default is dataclasses.MISSING:
        return "none"
    if default is None:
        return "not set"
    if isinstance(default, bool):
        return str(default).lower()
    return "an empty table" if default == {} else str(default)


def base_type(model: type, name: str) -> Any:
    """The type of a setting without `None` and constraints: `float`, `Literal[…]`, `Mapping[…, …]`."""
    return _unwrap(_hints(model)[name])[0]


def item_type(model: type, name: str) -> Any:
    """The same of the items of a setting that is a table."""
    return _unwrap(get_args(base_type(model, name))[1])[0]


def legal_values(model: type, name: str) -> str:
    """What a setting may be: type, range and unit, as a noun phrase."""
    text = _legal(_hints(model)[name])
    return text.replace("number", "number of seconds") if name.endswith("_seconds") else text


@cache
def _hints(model: type) -> dict[str, Any]:
    return get_type_hints(model, include_extras=True)


def _unwrap(hint: Any) -> tuple[Any, list[Any]]:
    """The type under `Annotated` and `| None`, and the annotations that were on it."""
    if get_origin(hint) is Annotated:
        inner, *notes = get_args(hint)
        base, more = _unwrap(inner)
        return base, [*notes, *more]
    options = [option for option in get_args(hint) if option is not type(None)]
    if type(None) in get_args(hint) and len(options) == 1:
        return _unwrap(options[0])
    return hint, []


def _legal(hint: Any) -> str:
    base, notes = _unwrap(hint)
    fields = [note for note in notes if isinstance(note, FieldInfo)]
    described = next((field.description for field in fields if field.description), None)
    if described:
        return described
    if get_origin(base) is Literal:
        *others, last = get_args(base)
        return f"{', '.join(others)} or {last}"
    if get_origin(base) is not None:
        key, value = get_args(base)
        return f"a table from {_legal(key)} to {_legal(value)}"
    nouns = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    bounds = " and ".join(bound for field in fields for bound in _bounds(field))
    return f"{nouns.get(base, f'an object of {base.__name__}')}{' ' if bounds else ''}{bounds}"


def _bounds(field: FieldInfo) -> Iterator[str]:
    for note in field.metadata:
        for attribute, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<=")):
            if hasattr(note, attribute):
                yield f"{sign} {getattr(note, attribute)}"
        if hasattr(note, "min_length"):
            yield "that is not empty"
