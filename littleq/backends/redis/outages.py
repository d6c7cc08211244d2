"""Which errors of a Redis server pass by themselves, how an operator reads about them, and how Dramatiq is told."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

import redis
from dramatiq.errors import ConnectionClosed
from redis.sentinel import MasterNotFoundError

#: Pauses between two attempts while the server is away, in seconds: the first, and the longest.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 3.0

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


class Outage:
    """Pauses that grow while a queue cannot be consumed, and one line in the log when that begins and when it ends.

    Args:
        wrong_keys: tells which keys of the queue are of a wrong type, where the server says that one is.
        aloud: whether to log; False where another consumer of the same queue does.
    """

    def __init__(
        self, logger: Any, queue_name: str, wrong_keys: Callable[[], str] = str, *, aloud: bool = True
    ) -> None:
        self._logger, self._queue_name, self._wrong_keys, self._aloud = logger, queue_name, wrong_keys, aloud
        self._since: float | None = None
        self._pause = FIRST_PAUSE_SECONDS

    @property
    def since(self) -> float | None:
        """When it began (monotonic, s); None: there is none."""
        return self._since

    def goes_on(self, error: redis.RedisError, longest: float) -> None:
        """Log the first error of an outage, and pause for `longest` seconds at most."""
        if self._since is None:
            self._since = time.monotonic()
            if self._aloud:
                self._log(error)
        time.sleep(min(longest, self._pause * random.uniform(0.5, 1.0)))
        self._pause = min(LONGEST_PAUSE_SECONDS, 2 * self._pause)

    def is_over(self) -> None:
        if self._since is not None:
            if self._aloud:
                lasted = time.monotonic() - self._since
                self._logger.warning("Queue %r: the server is back after %.1f s.", self._queue_name, lasted)
            self._since, self._pause = None, FIRST_PAUSE_SECONDS

    def _log(self, error: redis.RedisError) -> None:
        meaning = _meaning(error)
        if meaning is not None:
            self._logger.warning(
                "Queue %r: %s (%s: %s); trying again with growing pauses.",
                *(self._queue_name, meaning, type(error).__name__, _in_short(error)),
            )
        elif _RIGHTS.match(str(error)):
            self._logger.error(
                "Queue %r cannot be consumed: this user of the server lacks a right (%s). docs/outages.md lists those "
                "that it needs; trying again with growing pauses.",
                *(self._queue_name, _in_short(error)),
            )
        else:
            keys = self._wrong_keys() if str(error).startswith("WRONGTYPE") else ""
            self._logger.error(
                "Queue %r cannot be consumed: the server says %s. %s; trying again with growing pauses.",
                *(self._queue_name, _in_short(error), keys or "Look at the keys of this queue"),
            )


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
