"""Which errors of a Redis server pass by themselves, how an operator reads about them, and how Dramatiq is told."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, cast

import redis
from dramatiq.errors import ConnectionClosed
from redis.sentinel import MasterNotFoundError

#: "Not now", and what it means; the first that fits counts.
_TRANSIENT: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (redis.exceptions.BusyLoadingError, "the server is loading its data"),
    (redis.exceptions.AuthenticationError, "the server refuses this user or its password"),
    (
        redis.exceptions.ReadOnlyError,
        "the server is a replica and takes no writes: a failover, or the wrong address",
    ),
    (redis.exceptions.OutOfMemoryError, "the server has no memory left (maxmemory)"),
    (redis.exceptions.TryAgainError, "the cluster moves these keys"),
    (redis.exceptions.ClusterDownError, "the cluster is down"),
    (redis.exceptions.MasterDownError, "the server is a replica without its primary"),
    (MasterNotFoundError, "no Sentinel knows a primary"),
    (redis.TimeoutError, "the server does not answer"),
    (redis.ConnectionError, "the server is away"),
)
#: The same, where redis-py has no class for what the server says.
_TRANSIENT_WORDS: Final = {
    "MISCONF": "the server cannot save its data and takes no writes: look at its disk and its log",
    "NOREPLICAS": "the server has too few replicas and takes no writes",
    "MASTERDOWN": "the server is a replica without its primary",
    "UNKILLABLE": "a script that has written keeps the server busy: wait, or SHUTDOWN NOSAVE",
    "BUSY": "a script keeps the server busy: SCRIPT KILL ends it",
}

#: Redis 6.2 packs what a command in a script answers into an answer of its own.
_PACKED = re.compile(
    r"(?:ERR )?Error running script \(call to \w+\): (?:@\w+: ?\d+: )+-?(?P<said>.*)", re.DOTALL
)
_CLASSES: Final[dict[str, type[redis.ResponseError]]] = {
    "READONLY": redis.exceptions.ReadOnlyError,
    "OOM": redis.exceptions.OutOfMemoryError,
    "TRYAGAIN": redis.exceptions.TryAgainError,
    "CLUSTERDOWN": redis.exceptions.ClusterDownError,
    "MASTERDOWN": redis.exceptions.MasterDownError,
}
#: How servers say that a right is missing: Redis 6.2 and 7, Valkey.
_RIGHTS = re.compile(r"^(?:NOPERM|ACL failure|The user executing the script can't)")


def unpacked(error: redis.ResponseError) -> redis.ResponseError:
    """The error that a command in a script met, as Redis 7 and later report it.

    >>> said = "Error running script (call to f_1): @user_script:1: @user_script: 1: -OOM no"
    >>> type(unpacked(redis.ResponseError(said))).__name__
    'OutOfMemoryError'
    """
    packed = _PACKED.match(str(error))
    if packed is None:
        return error
    said = packed["said"]
    code, _, rest = said.partition(" ")
    return _CLASSES[code](rest) if code in _CLASSES else redis.ResponseError(said)


def is_transient(error: BaseException) -> bool:
    """Whether trying again later may help."""
    return _meaning(error) is not None


def _meaning(error: BaseException) -> str | None:
    for kind, meaning in _TRANSIENT:
        if isinstance(error, kind):
            return meaning
    if isinstance(error, redis.ResponseError):
        return _TRANSIENT_WORDS.get(str(error).split(" ", 1)[0])
    return None


@contextmanager
def in_dramatiqs_words() -> Iterator[None]:
    """Raise what passes by itself as the `BrokerConnectionError` that Dramatiq waits and tries again for."""
    try:
        yield
    except redis.RedisError as error:
        if is_transient(error):
            raise ConnectionClosed(error) from None
        raise


def explain(error: BaseException, queue_name: str, wrong_keys: Callable[[], str] = str) -> tuple[int, str]:
    """What an operator reads of an outage, and at which level.

    Args:
        wrong_keys: tells which keys of the queue are of a wrong type, where the server says that one is.
    """
    meaning, said = _meaning(error), _in_short(error)
    if meaning is not None:
        return logging.WARNING, f"Queue {queue_name!r}: {meaning} ({type(error).__name__}: {said})"
    if _RIGHTS.match(str(error)):
        return logging.ERROR, (
            f"Queue {queue_name!r} cannot be consumed: this user of the server lacks a right ({said}). docs/outages.md "
            "lists those that it needs"
        )
    keys = wrong_keys() if str(error).startswith("WRONGTYPE") else ""
    advice = keys or "Look at the keys of this queue"
    return logging.ERROR, f"Queue {queue_name!r} cannot be consumed: the server says {said}. {advice}"


def _in_short(error: BaseException) -> str:
    """The first sentence of what the server says, without the script's name and redis-py's account of Sentinels."""
    return re.sub(r" (?:script: |: <).*$", "", str(error), flags=re.DOTALL).split(". ")[0].rstrip(".")


def wrong_keys(client: redis.Redis, namespace: str, queue: str) -> str:
    """A sentence about the keys of a queue that are of a wrong type; "" if none is, or the server does not say."""
    plain, own = f"{namespace}:{queue}", f"littleq:{namespace}:{queue}"
    types = {
        **dict.fromkeys((plain, f"{plain}.DQ"), "list"),
        **dict.fromkeys((f"{plain}.msgs", f"{plain}.DQ.msgs", f"{plain}.XQ.msgs"), "hash"),
        **dict.fromkeys((f"{own}:accounts", f"{own}:deliveries", f"{own}:poison"), "hash"),
        **dict.fromkeys((f"{plain}.XQ", f"{namespace}:__heartbeats__"), "zset"),
        **dict.fromkeys((f"{own}:schedule", f"{own}:schedule:ids", f"{own}:order", f"{own}:waiting"), "zset"),
        **dict.fromkeys((f"littleq:{namespace}:queues", f"littleq:{namespace}:paused"), "set"),
        f"{own}:turn": "string",
    }
    pipe = client.pipeline(transaction=False)
    for key in types:
        pipe.type(key)
    try:
        found = cast("list[bytes | str]", pipe.execute())
    except redis.RedisError:
        return ""
    names = [name.decode() if isinstance(name, bytes) else name for name in found]
    wrong = [
        f"Key {key!r} is a {name} and should be a {right}"
        for (key, right), name in zip(types.items(), names, strict=True)
        if name not in (right, "none")
    ]
    return "; ".join(wrong) + ": somebody overwrote it, rename or delete it" if wrong else ""
