"""What the demo's workers run: the reference app, on a day on which its partner takes a quarter of a second.

A thread that waits for a partner costs no CPU, so eight worker processes with one thread each are a fleet that two
cores can bear, and how many there are matters.
"""

from actors import broker, flaky

SLOW_PARTNER_SECONDS = 0.25

flaky.LATENCY_SECONDS = SLOW_PARTNER_SECONDS

__all__ = ["SLOW_PARTNER_SECONDS", "broker"]
