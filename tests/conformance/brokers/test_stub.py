"""The suite on Dramatiq's StubBroker."""

from tests.conformance.brokers.facts import *  # noqa: F403

SUBJECT = "stub"
