"""How a dead job looks when it is sent back to work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from littleq import job

#: What an attempt leaves on a message; a replayed job starts without it.
ATTEMPT_OPTIONS = ("retries", "traceback", "requeue_timestamp", "eta")


def fresh_options(options: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Options of a replayed job: a full set of attempts, ready now, no record of its death.

    >>> fresh_options({"retries": 3, "pipe_ignore": True, "littleq": {"ready_at": 1.0, "dead": {}}}, now=5.0)
    {'pipe_ignore': True, 'littleq': {'ready_at': 5.0}}
    """
    kept = {key: value for key, value in options.items() if key not in ATTEMPT_OPTIONS}
    kept.pop(job.OPTION, None)
    job.write(kept, ready_at=now)
    return kept
