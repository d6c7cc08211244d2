"""Keeps pika from warning about answers that were asked for.

To ask whether a queue exists is to have the channel closed where it does not (404); so is to declare one that is
another (406). pika logs each as a warning.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_asking = threading.local()


def _is_news(record: logging.LogRecord) -> bool:
    expected = getattr(_asking, "now", False)
    return not (expected and isinstance(record.args, tuple) and record.args[:1] in ((404,), (406,)))


@contextmanager
def while_asking() -> Iterator[None]:
    """A closed channel is an answer in here, in this thread."""
    log = logging.getLogger("pika.channel")
    if _is_news not in log.filters:
        log.addFilter(_is_news)
    _asking.now = True
    try:
        yield
    finally:
        _asking.now = False
