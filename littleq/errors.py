"""Every exception that LittleQ raises, under one root.

A message gives the value seen, the legal range and the next step. An ordinary "no" inside a policy is
a value, not an exception. `Overloaded` stands in `littleq.middleware.admission`: it is a Dramatiq
`MiddlewareError` too, and this module is imported by the maths, which know no Dramatiq.
"""

from __future__ import annotations


class LittleQError(Exception):
    """Root of all errors of this package."""


class ValidationError(LittleQError, ValueError):
    """An argument is outside its legal range."""


class UnstableQueueError(LittleQError, ValueError):
    """The offered load reaches the number of servers: no steady state exists."""


class ConfigurationError(LittleQError):
    """A setting is unknown, of the wrong type or out of range, or a needed extra is missing."""


class BackendError(LittleQError):
    """A broker or ledger server cannot be used as configured."""
