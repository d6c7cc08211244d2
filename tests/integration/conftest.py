"""Fixtures of `tests.support` and `tests.brokers`."""

from tests.brokers.rabbitmq import queue, rabbit, rabbit_app
from tests.brokers.sqs import aws, moto_server, sqs_app
from tests.support import dramatiq_processes, make_app, our_app

__all__ = [
    "aws",
    "dramatiq_processes",
    "make_app",
    "moto_server",
    "our_app",
    "queue",
    "rabbit",
    "rabbit_app",
    "sqs_app",
]
