"""Ctrl-C and SIGTERM: noted when they come, obeyed at the next step.

An exception that a signal handler throws can hit anywhere: between the start of a process and the line that
remembers it, or in the middle of the clean-up. So the handler throws nothing. Whoever waits, waits through
`StopSwitch.sleep`, and nothing else here takes more than a moment.
"""

from __future__ import annotations

import signal
import time
from types import FrameType

#: Longest time until a waiting step notices, in seconds.
SLICE = 0.1


class Stopped(Exception):  # somebody's wish, not an error
    """The user, or the system, wants us to stop."""


class StopSwitch:
    """Remembers the first signal that asks to stop; the later ones change nothing."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def listen(self) -> None:
        """Take over SIGINT, SIGTERM and SIGHUP (the terminal was closed)."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.signal is None:
            self.signal = number

    def check(self) -> None:
        """Raise `Stopped` if we are to stop."""
        if self.signal is not None:
            raise Stopped

    def sleep(self, seconds: float) -> None:
        """Sleep, and raise `Stopped` within `SLICE` of a signal."""
        until = time.monotonic() + seconds
        while True:
            self.check()
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, SLICE))
