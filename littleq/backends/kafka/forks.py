"""librdkafka and forks: its threads do not survive one, and freeing a client waits for them for ever."""

from __future__ import annotations

import ctypes
from typing import Any


def leak(client: Any) -> None:
    """Never free a client of the parent's in this child: it is its memory that is lost, once per fork."""
    if client is not None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))
