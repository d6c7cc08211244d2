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

#: Schemes of servers that keep a ledger, and carry jobs as well.
_REDIS = (
    *("embedded", "redis", "rediss", "valkey", "valkeys", "unix", "redis+unix", "valkey+unix"),
    *("redis+sentinel", "valkey+sentinel"),
)
#: Schemes of brokers that keep no ledger.
NO_LEDGER = ("amqp", "amqps", "sqs", "kafka")
#: Schemes under which everything is in the memory of one process.
IN_MEMORY = ("stub", "memory")

#: Partitions of a topic that LittleQ makes on Kafka, where its URL does not say how many: so many workers get jobs.
KAFKA_PARTITIONS = 12

BROKERS = (*_REDIS, *NO_LEDGER, "stub")
LEDGERS = (*_REDIS, *IN_MEMORY)


def _url(*schemes: str, refused_later: tuple[str, ...] = ()) -> Any:
    """The rule for a URL that begins with one of these schemes.

    Args:
        refused_later: schemes that are wrong too, but for a reason that deserves a sentence of its own.
    """
    *others, last = (f"{scheme}://" for scheme in schemes)
    return Field(
        pattern=f"^({'|'.join(map(re.escape, (*schemes, *refused_later)))})://",
        description=f"a URL that begins with {', '.join(others)} or {last}",
    )


BrokerURL = Annotated[str, _url(*BROKERS)]
LedgerURL = Annotated[str, _url(*LEDGERS, refused_later=NO_LEDGER)]


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
