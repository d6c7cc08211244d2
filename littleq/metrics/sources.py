"""Reading a server that may be slow, gone, or not there yet.

A scrape has to answer whatever happens to what it reads. So each source is opened at its first use, read on a
thread of its own, and given up after a deadline: no socket option of any client is relied upon. A read that
hangs holds the source, so the scrapes after it wait for their deadline and give up too: one thread hangs, not
one per scrape.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

#: Longest time for one read, in seconds: two of them fit well into Prometheus' default scrape timeout of 10
#: s.
READ_SECONDS = 3.0

T = TypeVar("T")
Answer = TypeVar("Answer")


class SourceError(Exception):
    """The source could not be opened or read, or not in time."""


class Source(Generic[T]):
    """One server that a scrape reads.

    Args:
        name: how it is called in the log and in `sla_up`.
        connect: gives the client; called once it is needed, and again if it raised.
        seconds: deadline of a read.
    """

    def __init__(self, name: str, connect: Callable[[], T], seconds: float = READ_SECONDS) -> None:
        self.name = name
        self._connect = connect
        self._seconds = seconds
        self._client: T | None = None
        self._busy = threading.Lock()
        self._down = False

    def read(self, question: Callable[[T], Answer]) -> Answer:
        """Ask the client one question.

        Raises:
            SourceError: whatever went wrong; it has been logged, once for each outage.
        """
        try:
            answer = self._ask(question)
        except Exception as error:
            if not self._down:
                logger.warning("Cannot read the %s: %s: %s", self.name, type(error).__name__, error)
            self._down = True
            raise SourceError(self.name) from error
        if self._down:
            logger.info("The %s can be read again.", self.name)
        self._down = False
        return answer

    def _ask(self, question: Callable[[T], Answer]) -> Answer:
        if not self._busy.acquire(timeout=self._seconds):
            raise TimeoutError(f"an earlier read has not come back within {self._seconds:g} s")
        answers: list[Answer] = []
        errors: list[Exception] = []

        def ask() -> None:
            try:
                if self._client is None:
                    self._client = self._connect()
                answers.append(question(self._client))
            except Exception as error:  # carried over to the thread that asked
                errors.append(error)
            finally:
                self._busy.release()

        thread = threading.Thread(target=ask, name=f"littleq-read-{self.name}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads, or the interpreter is shutting down
            self._busy.release()
            raise
        thread.join(self._seconds)
        if errors:
            raise errors[0]
        if not answers:
            raise TimeoutError(f"no answer within {self._seconds:g} s")
        return answers[0]
