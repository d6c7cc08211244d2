"""The suite on SQS, on moto."""

from tests.conformance.brokers.facts import *  # noqa: F403

SUBJECT = "sqs"
