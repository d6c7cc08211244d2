"""A broker's way to its server: connections, questions, and messages that the server confirms.

Each thread has a connection of its own, as in Dramatiq's broker, made when it is needed and again when it has ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

import pika
from dramatiq.brokers.rabbitmq import RabbitmqBroker as DramatiqRabbitmqBroker
from pika import exceptions

from littleq.backends.rabbitmq.connecting import connect
from littleq.backends.rabbitmq.long_jobs import version_of
from littleq.backends.rabbitmq.management import Management
from littleq.backends.rabbitmq.outages import ERRORS, in_words
from littleq.backends.rabbitmq.outlet import Fate, Outlet, Parcel
from littleq.backends.rabbitmq.quiet import only_warnings, quietly
from littleq.backends.rabbitmq.urls import parameters_of, split_urls
from littleq.background import survive_forks

if TYPE_CHECKING:
    from dramatiq import Middleware
    from pika.adapters.blocking_connection import BlockingChannel

T = TypeVar("T")

#: How often a message is sent again that met a connection which had ended, or a queue that was deleted.
ATTEMPTS = 3
#: A server that does not answer a ping within this is away, in seconds.
PING_SECONDS = 2.0


class ConnectedBroker(DramatiqRabbitmqBroker):
    """See the module."""

    parameters: Any

    def __init__(
        self, *, url: str | list[str], middleware: list[Middleware] | None, max_priority: int | None
    ) -> None:
        found = [parameters_of(each) for each in (split_urls(url) if isinstance(url, str) else url)]
        super().__init__(
            confirm_delivery=True, middleware=middleware, max_priority=max_priority, parameters=[]
        )
        self.parameters = [parameters for parameters, _ in found]
        first = self.parameters[0]
        user, password = unquote(first.credentials.username), unquote(first.credentials.password)
        self.management = Management(found[0][1], user, password, first.virtual_host)
        only_warnings()
        self._start_afresh()
        survive_forks(self)

    def _start_afresh(self) -> None:
        """In each process: the parent's connections are the parent's."""
        # Kept for ever: were they collected, they might say goodbye to the server in the parent's name.
        self._parents = (*self.__dict__.get("_parents", ()), self.connections, self.channels, self.state)
        self.connections, self.channels = set(), set()
        self.state = threading.local()

    def after_fork_in_child(self) -> None:
        self._start_afresh()

    @property
    def connection(self) -> pika.BlockingConnection:
        """This thread's.

        Raises:
            pika.exceptions.AMQPConnectionError: there is no server.
        """
        found: pika.BlockingConnection | None = getattr(self.state, "connection", None)
        if found is None:
            found = self.state.connection = connect(self.parameters)
            self.connections.add(found)
        return found

    @connection.deleter
    def connection(self) -> None:
        vars(DramatiqRabbitmqBroker)["connection"].__delete__(self)

    def forget_places(self) -> None:
        """Something on the server was deleted that this process had declared."""
        raise NotImplementedError

    def ask(self, question: Callable[[BlockingChannel], T]) -> T:
        """Ask the server something on a channel of its own; once more if the connection had ended.

        Raises:
            pika.exceptions.AMQPError: it does not answer, or refuses.
        """
        for attempt in (1, 2):
            is_new = getattr(self.state, "connection", None) is None
            try:
                with quietly():
                    return self._asked(question)
            except exceptions.AMQPChannelError:
                raise
            except exceptions.AMQPConnectionError:
                self.hang_up()
                if is_new or attempt == 2:
                    raise
            except BaseException:
                self.hang_up()
                raise
        raise AssertionError("unreachable")

    def _asked(self, question: Callable[[BlockingChannel], T]) -> T:
        channel = self.connection.channel()
        try:
            return question(channel)
        finally:
            if channel.is_open:
                channel.close()

    def hang_up(self) -> None:
        """Give up this thread's connection: it has ended, or nobody knows what state it is in."""
        connection = self.state.__dict__.pop("connection", None)
        self.state.__dict__.pop("outlet", None)
        if connection is not None:
            self.connections.discard(connection)
            if connection.is_open:  # its goodbye may take long
                threading.Thread(
                    target=_close, args=(connection,), name="littleq-hang-up", daemon=True
                ).start()

    def ping(self) -> None:
        """Ask the server for a sign of life.

        Raises:
            pika.exceptions.AMQPError: it gives none within two seconds.
        """
        quick = [copy(each) for each in self.parameters]
        for each in quick:
            each.socket_timeout, each.stack_timeout = PING_SECONDS / 2, PING_SECONDS
        with quietly():
            connect(quick).close()

    def server_version(self) -> tuple[int, ...]:
        """The first two numbers of the server's version."""
        return self.ask(lambda channel: version_of(channel.connection._impl.server_properties.get("version")))

    def _outlet(self) -> Outlet:
        outlet: Outlet | None = getattr(self.state, "outlet", None)
        if outlet is None or not outlet.is_open:
            if outlet is not None:
                self.hang_up()
            outlet = self.state.outlet = Outlet(self.connection)
        return outlet

    def count(self, name: str) -> int | None:
        """How many messages of a queue of the server are ready; None: there is no such queue."""
        try:
            found = self.ask(lambda channel: channel.queue_declare(name, passive=True))
        except exceptions.ChannelClosedByBroker as error:
            if error.reply_code == 404:
                return None
            raise
        return int(found.method.message_count)

    def publish(self, parcels: Sequence[Callable[[], Parcel]]) -> list[bool]:
        """Have the server confirm messages; which of them found their queue full. Their places are declared if need be.

        Raises:
            pika.exceptions.AMQPError: it did not; some may be in.
        """
        fates: list[Fate | None] = [None] * len(parcels)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with quietly():
                    self._outlet().publish([make() for make in parcels], fates)
            except exceptions.ConnectionBlockedTimeout:
                self.hang_up()
                raise
            except ERRORS as error:
                self.hang_up()
                if getattr(error, "reply_code", None) == 404:  # an exchange was deleted
                    self.forget_places()
                if attempt == ATTEMPTS:
                    raise
            except BaseException:  # a time limit's interrupt: nobody knows what is on the wire
                self.hang_up()
                raise
            else:
                if "lost" not in fates:
                    break
                self.forget_places()
                fates = [None if fate == "lost" else fate for fate in fates]
        if None in fates:
            raise exceptions.UnroutableError([])
        return [fate == "full" for fate in fates]

    def told(self, call: Callable[[], T]) -> T:
        """Call it, and raise what pika raises as Dramatiq's `ConnectionClosed`."""
        try:
            return call()
        except ERRORS as error:
            raise in_words(error) from None


def _close(connection: pika.BlockingConnection) -> None:
    with quietly(), suppress(Exception):
        connection.close()
