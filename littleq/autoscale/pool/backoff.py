"""When a group whose processes die may start the next one."""

from __future__ import annotations

from littleq.clock import SYSTEM_CLOCK, Clock

#: The first pause, and the longest, in seconds.
FIRST_SECONDS, LONGEST_SECONDS = 0.5, 30.0
#: A group in which nobody has died for so long starts from the first pause again, in seconds; longer than the longest
#: pause and a slow start, else a loop of slow crashes would never be seen as one.
CALM_SECONDS = 60.0


class Backoff:
    """Exponential: 0.5 s after the first death, then 1, 2, … 30 s, until there has been none for a minute.

    While there are deaths only one process is tried at a time: a crash loop of ten costs what one of one does.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._deaths = 0
        self._died_at = float("-inf")

    def died(self) -> float:
        """A process has ended that nobody had asked to; seconds until the next one may start."""
        self._forget()
        self._deaths += 1
        self._died_at = self._clock.monotonic()
        return self.pause

    @property
    def pause(self) -> float:
        """The pause after the last death, in seconds; 0: there was none lately."""
        if not self._deaths:
            return 0.0
        return min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(self._deaths - 1, 30))

    def startable(self, starting: int) -> int:
        """Most processes that may be started now, beside `starting` ones."""
        self._forget()
        if not self._deaths:
            return 1_000_000
        if self._clock.monotonic() - self._died_at < self.pause:
            return 0
        return max(0, 1 - starting)

    def _forget(self) -> None:
        if self._clock.monotonic() - self._died_at >= CALM_SECONDS:
            self._deaths = 0
