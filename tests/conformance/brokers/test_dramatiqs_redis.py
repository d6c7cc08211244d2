"""The suite on Dramatiq's RedisBroker, on Valkey."""

from tests.conformance.brokers.facts import *  # noqa: F403

SUBJECT = "dramatiqs-redis"
