"""The suite on LittleQ's RedisBroker, on Valkey."""

from tests.conformance.brokers.facts import *  # noqa: F403

SUBJECT = "redis"
