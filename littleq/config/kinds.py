"""The kinds of values that settings are made of, each with its range; messages and documentation read them here."""

from __future__ import annotations

import re
from typing import Annotated, Any, NoReturn, TypeVar

from pydantic import AfterValidator, Field

Key = TypeVar("Key")
Item = TypeVar("Item")

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
PositiveInt = Annotated[int, Field(ge=1)]
QueueName = Annotated[
    str,
    Field(
        pattern=r"^[a-zA-Z_][a-zA-Z0-9._-]*$",  # Dramatiq's own rule
        description="a queue name (letters, digits, `_`, `-` and `.`, a letter or `_` first)",
    ),
]
ExceptionName = Annotated[
    str, Field(pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)*$", description="an exception's name")
]

#: What a client can send in a header. An empty one is none: a Secret or a variable may be there and hold nothing.
Token = Annotated[
    Annotated[
        str,
        Field(pattern=r"^[!-~]*$", description="a text of visible ASCII characters, without blanks"),
    ]
    | None,
    AfterValidator(lambda token: token or None),
]

SERVERS = (
    *("embedded", "redis", "rediss", "valkey", "valkeys", "unix", "redis+unix", "valkey+unix"),
    *("redis+sentinel", "valkey+sentinel", "stub"),
)


def _url(*schemes: str) -> Any:
    """The rule for a URL that begins with one of these schemes."""
    *others, last = (f"{scheme}://" for scheme in schemes)
    return Field(
        pattern=f"^({'|'.join(map(re.escape, schemes))})://",
        description=f"a URL that begins with {', '.join(others)} or {last}",
    )


BrokerURL = Annotated[str, _url(*SERVERS)]
LedgerURL = Annotated[str, _url(*SERVERS, "memory")]


class FrozenDict(dict[Key, Item]):
    """A dict that refuses changes, so that a configuration can be hashed and shared between threads.

    Not a `MappingProxyType`: that can neither be hashed (before Python 3.12) nor pickled.
    """

    def __hash__(self) -> int:  # type: ignore[override]  # dict declares None, for it can change
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)  # the default fills an empty one item by item

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("a configuration cannot be changed: make another one, with dataclasses.replace")

    __setitem__ = __delitem__ = __ior__ = _refuse
    update = setdefault = pop = popitem = clear = _refuse
