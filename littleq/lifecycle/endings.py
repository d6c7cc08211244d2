"""Exit codes of worker processes, and the one sentence that says why.

The sentence goes to the file that LITTLEQ_TERMINATION_LOG names, or to Kubernetes' own, for `kubectl describe pod`.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

#: As Dramatiq has them.
DRAINED, CUT_SHORT, BAD_INPUT, NOT_CONNECTED = 0, 1, 2, 3

VARIABLE: Final = "LITTLEQ_TERMINATION_LOG"
#: https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/
KUBERNETES: Final = Path("/dev/termination-log")
#: Kubernetes reads so many bytes.
MOST_BYTES: Final = 4096


def termination_log() -> Path | None:
    """The file that takes the reason of an end; None: nobody asks for one."""
    if own := os.environ.get(VARIABLE):
        return Path(own)
    return KUBERNETES if KUBERNETES.is_file() and os.access(KUBERNETES, os.W_OK) else None


def say_why(sentence: str) -> None:
    """Add a sentence to the termination log, if there is one. Never raises: an end must not fail for that."""
    path = termination_log()
    if path is None:
        return
    try:
        with path.open("ab") as file:
            room = MOST_BYTES - file.tell()
            file.write(f"{sentence}\n".encode()[: max(0, room)])
    except OSError as error:
        logger.warning("Why this process ends cannot be written to %s: %s", path, error.strerror or error)


def has_said_why() -> bool:
    """Whether the termination log holds something."""
    path = termination_log()
    try:
        return path is not None and path.stat().st_size > 0
    except OSError:
        return False


def begin() -> None:
    """Empty the termination log: what it holds is of an earlier life."""
    path = termination_log()
    if path is not None:
        try:
            path.write_bytes(b"")
        except OSError as error:
            logger.debug("%s cannot be emptied: %s", path, error)
