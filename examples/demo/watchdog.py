"""A program: `python watchdog.py GRACE COMMAND…` runs a command for as long as its starter lives.

Stdin is the leash: a pipe whose other end the starter holds and never writes to. The kernel closes it with
the starter, kill -9 included, and then the command gets SIGTERM, and after GRACE seconds all of its processes
get SIGKILL. The starter stops it the same way: it closes the pipe. (Linux could do with PR_SET_PDEATHSIG;
macOS has no such thing, and neither would kill a worker that does not listen.)

The exit status is that of the command.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys

#: How often it looks whether the command has ended by itself, in seconds.
LOOK = 0.2


def main() -> int:
    """Run the command of argv until it ends, or has to."""
    grace, command = float(sys.argv[1]), sys.argv[2:]
    asked = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: asked.append(True))
    # A session of its own, so that its processes can be told from all others, and see no Ctrl-C.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    leash = sys.stdin.fileno()
    while child.poll() is None and not asked and not select.select([leash], [], [], LOOK)[0]:
        pass
    if child.poll() is None:
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(grace)
    with contextlib.suppress(ProcessLookupError, PermissionError):  # all gone; macOS says it the second way
        os.killpg(child.pid, signal.SIGKILL)
    return child.wait()


if __name__ == "__main__":
    sys.exit(main())
