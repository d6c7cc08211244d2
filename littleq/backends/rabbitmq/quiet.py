"""Keeps pika from telling its whole life, and from telling an operator twice what is told already.

It logs each refused connection with several errors and a stack, and each channel that the server closes with a warning;
but to ask whether a queue exists is to have the channel closed where it does not. In `quietly` all of that goes to the
debug level: whoever asked gets an exception, and says in one line what it means. At INFO, on which workers log, pika
tells of each connection in ten lines.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pika.adapters.blocking_connection  # noqa: F401 - its loggers exist from here on


class _Ours(threading.local):
    depth = 0


_ours = _Ours()
_known: set[str] = set()


def _lowered(record: logging.LogRecord) -> bool:
    if not _ours.depth or record.levelno <= logging.DEBUG:
        return True
    record.levelno, record.levelname = logging.DEBUG, logging.getLevelName(logging.DEBUG)
    return logging.getLogger(record.name).isEnabledFor(logging.DEBUG)


def _hush() -> None:
    for name in [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "pika"]:
        if name not in _known:
            _known.add(name)
            logging.getLogger(name).addFilter(_lowered)


def only_warnings() -> None:
    """Unless the app has said what pika is to log."""
    log = logging.getLogger("pika")
    if log.level == logging.NOTSET:
        log.setLevel(logging.WARNING)


@contextmanager
def quietly() -> Iterator[None]:
    """What pika logs in here, in this thread, is for debugging."""
    if not _known:
        _hush()
    _ours.depth += 1
    try:
        yield
    finally:
        _ours.depth -= 1
