"""The suite on Kafka, on tansu."""

from tests.conformance.brokers.facts import *  # noqa: F403

SUBJECT = "kafka"
