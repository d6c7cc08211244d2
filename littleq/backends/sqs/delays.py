"""Delays of any length, on a server that knows at most 900 whole seconds. Pure.

    send       DelaySeconds = the delay, rounded down, at most 900; the message carries its due time (`eta`)
    received   due: run it. Due within moments: hold it until then. Later: send it on with what is left (a hop),
               confirmed, then delete it

So no job starts early, nor a whole second late, and a delay of a week is a chain of 672 hops. A process that is killed
between the two steps of a hop leaves the job twice. SQS tells nobody its time: the clocks of the hosts that send and
receive decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from littleq import job

#: The longest `DelaySeconds` of SQS, in seconds.
LONGEST_SECONDS = 900
#: What is due within this is held in memory until then, in seconds: above the second that rounding down leaves, and
#: what two clocks may differ.
HOLD_SECONDS = 2.0
#: Most jobs that one queue's consumer holds like that; nothing is fetched while there are so many. Somewhat arbitrary:
#: they weigh little, and are due in a moment.
MOST_HELD = 100

Step = Literal["run", "hold", "hop"]


@dataclass(frozen=True, slots=True)
class Delays:
    """How one broker delays.

    Args:
        longest: the longest hop, in seconds, in 1..900. Less is for tests.
        hold: how long before it is due a job is held in memory, in seconds, > 1.
    """

    longest: int = LONGEST_SECONDS
    hold: float = HOLD_SECONDS

    def seconds(self, remaining: float) -> int:
        """The `DelaySeconds` of a job that is due in `remaining` seconds.

        >>> Delays().seconds(2.9), Delays().seconds(86_400), Delays().seconds(-5)
        (2, 900, 0)
        """
        return max(0, min(self.longest, int(remaining)))

    def step(self, remaining: float) -> Step:
        """What to do with a received job that is due in `remaining` seconds.

        >>> Delays().step(0), Delays().step(0.4), Delays().step(30)
        ('run', 'hold', 'hop')
        """
        if remaining <= 0:
            return "run"
        return "hold" if remaining < self.hold else "hop"


def due_in(options: dict[str, Any], now: float) -> float:
    """Seconds until a job is due, by its options; 0: it is."""
    eta = options.get("eta")
    if not isinstance(eta, (int, float)) or isinstance(eta, bool):
        return 0.0
    return max(0.0, eta / 1000 - now)


def is_delayed(options: dict[str, Any]) -> bool:
    """Whether a message is still in the form in which it waits."""
    return "eta" in options or bool(job.read(options).get("waiting_due"))
