"""The suite on RabbitMQ."""

from tests.conformance.brokers.facts import *  # noqa: F403

SUBJECT = "rabbitmq"
