"""Fixtures of `tests.support`."""

from tests.support import dramatiq_processes, make_app, our_app

__all__ = ["dramatiq_processes", "make_app", "our_app"]
