"""A registered script with less between the call and the socket.

redis-py's `execute_command` wraps each command in retries, metrics, callbacks and two visits to the pool that a
script of ours needs only when something goes wrong. So the first try goes straight to a connection that was
borrowed from the client's pool before, and whatever goes wrong with it is repeated by redis-py, by all the
client's own rules. That may run the script twice, as those rules may; the scripts are made for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import redis

from littleq.background import survive_forks

#: Connections kept at most between two calls, and the size of a pool from which so many may be borrowed.
KEPT_CONNECTIONS = 16
LARGE_POOL = 64


class QuickScript:
    """In the place of `redis.commands.core.Script`: called with keys and args, answers as the server does."""

    def __init__(self, client: redis.Redis, text: str) -> None:
        self._script = client.register_script(text)
        self._pool = client.connection_pool
        # A client bound to one connection guards it with a lock of its own: leave that to it.
        self._is_pooled = client.connection is None
        self._keep = KEPT_CONNECTIONS if self._pool.max_connections >= LARGE_POOL else 0
        self._idle: deque[Any] = deque()
        survive_forks(self)

    def after_fork_in_child(self) -> None:
        self._idle = deque()  # the sockets are the parent's

    def __call__(self, keys: Sequence[Any] = (), args: Sequence[Any] = ()) -> Any:
        """Run the script.

        Raises:
            redis.RedisError: as redis-py's `Script`.
        """
        if not self._is_pooled:
            return self._script(keys=keys, args=args)
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._pool.get_connection()
        try:
            connection.send_command("EVALSHA", self._script.sha, len(keys), *keys, *args)
            answer = connection.read_response()
        except (redis.ConnectionError, redis.TimeoutError, redis.exceptions.NoScriptError) as error:
            self._pool.release(connection)  # it has closed itself where it had to
            if isinstance(error, redis.TimeoutError) and not _repeats(connection, error):
                raise  # the server may still run it: the client's rule is to leave that in doubt
            return self._script(keys=keys, args=args)
        except redis.exceptions.ReadOnlyError:
            # The server was demoted: its name may mean another one by now.
            connection.disconnect()
            self._pool.release(connection)
            raise
        except redis.ResponseError:
            self._give_back(connection)
            raise
        except BaseException:
            # Cut off half-way, by a time limit say: this answer must not meet the next question.
            connection.disconnect()
            self._pool.release(connection)
            raise
        self._give_back(connection)
        return answer

    def _give_back(self, connection: Any) -> None:
        if len(self._idle) < self._keep:
            self._idle.append(connection)
        else:
            self._pool.release(connection)


def _repeats(connection: Any, error: Exception) -> bool:
    """Whether the client's own rule is to repeat a command after `error`."""
    rule = connection.retry
    return rule.get_retries() != 0 and isinstance(error, getattr(rule, "_supported_errors", Exception))
