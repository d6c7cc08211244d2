"""Headers of messages on the server."""

from __future__ import annotations

from typing import Final

#: When a delayed job is due, ms since the epoch. Not in its message, which travels in the form that a worker gets.
DUE: Final = "littleq-due"
#: When a dead letter died, ms since the epoch.
DIED: Final = "littleq-died"
