"""Servers of tests that end with the test process, however that ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: Runs a server in a process group of its own until its stdin ends, which is when whoever holds the other end does.
_KEEPER = """
import os, signal, subprocess, sys, threading
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
threading.Thread(target=lambda: os._exit(server.wait() and 1), daemon=True).start()
sys.stdin.buffer.read()
try:
    os.killpg(server.pid, signal.SIGKILL)
except ProcessLookupError:
    pass
server.wait()
"""


class Leashed(subprocess.Popen[bytes]):
    """A server's keeper: `poll` and `wait` are as the server's own, `kill` kills all of its processes."""

    def __init__(self, command: Sequence[str | Path], **options: Any) -> None:
        super().__init__([sys.executable, "-S", "-c", _KEEPER, *command], stdin=subprocess.PIPE, **options)

    def kill(self) -> None:
        if self.stdin is not None:
            self.stdin.close()
