"""Keeps pika from telling its whole life, and from warning about answers that were asked for.

To ask whether a queue exists is to have the channel closed where it does not (404); so is to declare one that is
another (406). pika logs each as a warning. At INFO, on which workers log, it tells of each connection in ten lines.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_asking = threading.local()


def _is_news(record: logging.LogRecord) -> bool:
    said = record.args[:1] if isinstance(record.args, tuple) else ()
    # By type first: some of pika's own objects cannot be compared with a number.
    return not (getattr(_asking, "now", False) and said and type(said[0]) is int and said[0] in (404, 406))


def only_warnings() -> None:
    """Unless the app has said what pika is to log."""
    log = logging.getLogger("pika")
    if log.level == logging.NOTSET:
        log.setLevel(logging.WARNING)


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
