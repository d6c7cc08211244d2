"""A registered script with less between the call and the socket.

redis-py's `execute_command` wraps each command in retries, metrics, callbacks and two visits to the pool that a
script of ours needs only when something goes wrong. So the first try goes straight to a connection that was
borrowed from the client's pool before, and whatever goes wrong with it is repeated by redis-py, by all the
client's own rules. That may run the script twice, as those rules may; the scripts are made for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import redis

from littleq.backends.redis.outages import unpacked
from littleq.background import survive_forks

#: Connections kept at most between two calls, and the size of a pool from which so many may be borrowed.
KEPT_CONNECTIONS = 16
LARGE_POOL = 64


class QuickScript:
    """In the place of `redis.commands.core.Script`: called with keys and args, answers as the server does."""

    def __init__(self, client: redis.Redis, text: str) -> None:
        self._script = client.register_script(text)
        self._sha = self._script.sha
        self._client, self._text = client, text
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
            redis.RedisError: as redis-py's `Script`; what a command in the script met, as Redis 7 reports it.
        """
        return self.start(keys, args).answer()

    def start(self, keys: Sequence[Any] = (), args: Sequence[Any] = ()) -> Running:
        """Ask for the script to be run; the caller may do something else meanwhile, and must take the answer."""
        running = Running(self, keys, args)
        if self._is_pooled:
            running.ask(self._sha)
        return running

    def _finish(self, running: Running) -> Any:
        keys, args = running.keys, running.args
        try:
            if not self._is_pooled:
                return self._script(keys=keys, args=args)
            return self._try(running)
        except redis.ResponseError as error:
            said = unpacked(error)
            if not isinstance(said, redis.exceptions.ReadOnlyError) or not self._is_pooled:
                raise said from None
        # The server was demoted and has done nothing: its name may mean another one by now.
        self._start_afresh()
        try:
            return self._script(keys=keys, args=args)
        except redis.ResponseError as error:
            self._start_afresh()
            raise unpacked(error) from None

    def _try(self, running: Running) -> Any:
        connection = running.connection
        try:
            if running.error is not None:
                raise running.error
            answer = connection.read_response()
        except redis.exceptions.NoScriptError:
            self._pool.release(connection)
            # With its text, in one command: loaded first, it may be forgotten again before it is run.
            keys = running.keys
            return self._client.eval(self._text, len(keys), *keys, *running.args)
        except (redis.ConnectionError, redis.TimeoutError) as error:
            if connection is None:  # there is none to be had
                raise
            self._give_up(connection)
            self._start_afresh()  # what was cut off without a word takes a time-out each to notice
            if isinstance(error, redis.TimeoutError) and not _repeats(connection, error):
                raise  # the server may still run it: the client's rule is to leave that in doubt
        except redis.ResponseError:
            self._give_back(connection)
            raise
        except BaseException:
            # Cut off half-way, by a time limit say: this answer must not meet the next question.
            if connection is not None:
                self._give_up(connection)
            raise
        else:
            self._give_back(connection)
            return answer
        return self._script(keys=running.keys, args=running.args)

    def _take(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            return self._pool.get_connection()

    def _give_back(self, connection: Any) -> None:
        if (
            connection is None
        ):  # a server that is busy with a script refuses new ones by their first command, too
            return
        if len(self._idle) < self._keep:
            self._idle.append(connection)
        else:
            self._pool.release(connection)

    def _give_up(self, connection: Any) -> None:
        connection.disconnect()  # redis-py does not always: a Sentinel's keeps a socket whose answer is late
        self._pool.release(connection)

    def _start_afresh(self) -> None:
        """Close what nobody uses right now: the next call connects, and asks for the server's address, anew."""
        with suppress(IndexError):
            while True:
                self._give_up(self._idle.pop())
        self._pool.disconnect(inuse_connections=False)


class Running:
    """A script that the server was asked to run, and whose answer is not read yet."""

    __slots__ = ("_script", "args", "connection", "error", "keys")

    def __init__(self, script: QuickScript, keys: Sequence[Any], args: Sequence[Any]) -> None:
        self.keys, self.args = keys, args
        self._script = script
        self.connection: Any = None
        self.error: BaseException | None = None

    def ask(self, sha: str) -> None:
        try:
            self.connection = self._script._take()
            self.connection.send_command("EVALSHA", sha, len(self.keys), *self.keys, *self.args)
        except BaseException as error:  # raised to whoever takes the answer, once the connection is seen to
            self.error = error

    def answer(self) -> Any:
        """What the script said; errors as `QuickScript`'s."""
        return self._script._finish(self)


def _repeats(connection: Any, error: Exception) -> bool:
    """Whether the client's own rule is to repeat a command after `error`."""
    rule = connection.retry
    return rule.get_retries() != 0 and isinstance(error, getattr(rule, "_supported_errors", Exception))
