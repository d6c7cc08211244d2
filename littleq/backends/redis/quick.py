"""A registered script with less between the call and the socket.

redis-py's `execute_command` wraps each command in retries, metrics and callbacks that a script of ours needs
only when something goes wrong. So the first try goes straight to a connection of the client's pool, and whatever
goes wrong with it is repeated by redis-py, by all the client's own rules. That may run the script twice, as those
rules may; `accounts.lua` is made for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis


class QuickScript:
    """In the place of `redis.commands.core.Script`: called with keys and args, answers as the server does."""

    def __init__(self, client: redis.Redis, text: str) -> None:
        self._script = client.register_script(text)
        self._pool = client.connection_pool
        # A client bound to one connection guards it with a lock of its own: leave that to it.
        self._is_pooled = client.connection is None

    def __call__(self, keys: Sequence[Any] = (), args: Sequence[Any] = ()) -> Any:
        """Run the script.

        Raises:
            redis.RedisError: as redis-py's `Script`.
        """
        if not self._is_pooled:
            return self._script(keys=keys, args=args)
        pool = self._pool
        connection = pool.get_connection()
        try:
            connection.send_command("EVALSHA", self._script.sha, len(keys), *keys, *args)
            return connection.read_response()
        except (redis.ConnectionError, redis.TimeoutError, redis.exceptions.NoScriptError):
            pass  # the connection has closed itself where it had to
        except BaseException:
            connection.disconnect()  # cut off half-way, by a time limit say: its answer must not meet the next question
            raise
        finally:
            pool.release(connection)
        return self._script(keys=keys, args=args)
