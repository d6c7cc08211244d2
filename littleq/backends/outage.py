"""What a consumer does while its server is away."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

#: Pauses between two attempts while the server is away, in seconds: the first, and the longest.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 3.0


class Outage:
    """Pauses that grow while a queue cannot be consumed, and one line in the log when that begins and when it ends.

    Args:
        explain: the level of `logging` at which an error is logged, and the sentence.
        aloud: whether to log; False where another consumer of the same queue does.
    """

    def __init__(
        self,
        logger: Any,
        queue_name: str,
        explain: Callable[[BaseException], tuple[int, str]],
        *,
        aloud: bool = True,
    ) -> None:
        self._logger, self._queue_name, self._explain, self._aloud = logger, queue_name, explain, aloud
        self._since: float | None = None
        self._pause = FIRST_PAUSE_SECONDS

    @property
    def since(self) -> float | None:
        """When it began (monotonic, s); None: there is none."""
        return self._since

    def goes_on(self, error: BaseException, longest: float) -> None:
        """Log the first error of an outage, and pause for `longest` seconds at most."""
        if self._since is None:
            self._since = time.monotonic()
            if self._aloud:
                level, sentence = self._explain(error)
                self._logger.log(level, "%s; trying again with growing pauses.", sentence)
        time.sleep(min(longest, self._pause * random.uniform(0.5, 1.0)))
        self._pause = min(LONGEST_PAUSE_SECONDS, 2 * self._pause)

    def is_over(self) -> None:
        if self._since is not None:
            if self._aloud:
                lasted = time.monotonic() - self._since
                self._logger.warning("Queue %r: the server is back after %.1f s.", self._queue_name, lasted)
            self._since, self._pause = None, FIRST_PAUSE_SECONDS
