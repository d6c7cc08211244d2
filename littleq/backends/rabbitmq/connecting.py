"""Connections to the server, whose failures all have pika's one class for that."""

from __future__ import annotations

from collections.abc import Sequence

import pika
from pika import exceptions
from pika.adapters.utils.connection_workflow import AMQPConnectorException


def connect(
    parameters: pika.ConnectionParameters | Sequence[pika.ConnectionParameters],
) -> pika.BlockingConnection:
    """A connection to the first of these servers that takes one.

    Raises:
        pika.exceptions.AMQPConnectionError: none does. pika itself lets other errors out where a server says nothing
            (`AMQPConnectorStackTimeout`) or its certificate is wrong (`ssl.SSLError`).
    """
    try:
        return pika.BlockingConnection(parameters)
    except (AMQPConnectorException, OSError) as error:
        raise exceptions.AMQPConnectionError(error) from error
