"""The blocking wait of an idle consumer: one connection with one BLPOP that stays asked.

The BLPOP is not tied to one wait: a wait that ends without an answer leaves it standing, and the next one goes on with
it. So a wait can end on time (the server ends a BLPOP only when it looks at its timers, up to 100 ms late), and an idle
consumer asks every half a minute rather than every second.

A bell that was cut off without a word costs no job, for its consumer looks once a second all the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

#: The server answers at least so often, in seconds: a connection that was lost without a word is noticed.
ASK_SECONDS = 30.0
#: Silence beyond that, in seconds, means that it was.
LATE_SECONDS = 10.0


class Bell:
    """Rings when the server puts a token into the list `key`."""

    def __init__(self, pool: redis.ConnectionPool, key: str) -> None:
        self._pool = pool
        self._key = key
        self._connection: Any = None
        self._asked_at: float | None = None

    def ask(self) -> None:
        """Ask to be woken, unless that stands from an earlier wait.

        Raises:
            redis.RedisError: the server cannot be reached.
        """
        with self._closed_by_errors():
            if self._asked_at is not None and time.monotonic() - self._asked_at > ASK_SECONDS + LATE_SECONDS:
                self.close()
            if self._connection is None:
                self._connection = self._pool.get_connection()
            if self._asked_at is None:
                self._connection.send_command("BLPOP", self._key, ASK_SECONDS)
                self._asked_at = time.monotonic()

    def wait(self, seconds: float) -> bool:
        """Ask, and whether it rang within `seconds`.

        Raises:
            redis.RedisError: the server is away; the next one to ask connects anew.
        """
        self.ask()
        with self._closed_by_errors():
            if not self._connection.can_read(timeout=seconds):
                return False
            try:
                rang = self._connection.read_response() is not None
            except redis.ResponseError as error:
                self.close()  # a server that was demoted is never asked again
                if str(error).startswith("UNBLOCKED"):  # for whatever reason: whoever fetches now will know
                    return True
                raise
            self._asked_at = None
            return rang

    @contextmanager
    def _closed_by_errors(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the connection up; the server forgets the BLPOP with it."""
        connection, self._connection, self._asked_at = self._connection, None, None
        if connection is not None:
            connection.disconnect()
            self._pool.release(connection)
