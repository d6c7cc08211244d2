"""A program: what is left of a demo once it has turned into this, by exec, in the same process.

    python farewell.py FOLDER PORT BEGAN CODE

The embedded server runs for as long as a process uses it, and its clients bring it back when it is gone, so a
process can only leave it by ending, or by becoming another program: exec drops its locks, its connections and
its threads. The server's guardian notices, and stops it. All that is to do here is to see that this happens, to
delete the folder, and to say so. It takes well under a second, and signals are ignored meanwhile.

BEGAN is monotonic time, which goes on through exec; CODE is the exit code, and becomes 1 if something is left.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

GUARDIAN_PROGRAM = Path(__file__).parents[2] / "littleq" / "backends" / "redis" / "guardian.py"
#: How long the server may take to write the rest of its data, in seconds.
SERVER_SECONDS = 10.0

NEXT = """\
  littleq up                                                in one terminal,
  littleq producer --queue realtime --rate 20/s --poisson   in another,
  littleq monitor                                           in a third
"""


def become(folder: Path, port: int, began: float, code: int) -> None:
    """Turn this process into that program; does not return."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # exec keeps that, other than a handler
    sys.stdout.flush()
    sys.stderr.flush()
    arguments = [__file__, str(folder), str(port), repr(began), str(code)]
    os.execv(sys.executable, [sys.executable, "-S", *arguments])  # -S: the standard library is enough


def main() -> int:
    """See everything off; the exit code."""
    folder, port, began, code = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    left = [f"the server in {folder}"] if not _is_stopped(folder / "data") else []
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            left.append(f"an exporter on port {port}")
    took = f"{time.monotonic() - began:.0f} s"
    if left:
        print(f"✘ Still running after {took}: {' and '.join(left)}.")
        return code or 1
    shutil.rmtree(folder, ignore_errors=True)
    if code == 0:
        print(
            f"\n{took} in all, and everything is stopped again. Next, on a server that stays:\n{NEXT}", end=""
        )
    else:
        print(f"Stopped after {took}. Nothing is left running.")
    return code


def _is_stopped(data: Path) -> bool:
    """Wait until neither the server nor its guardian runs; False if that takes too long."""
    # By its path, as it is run itself: the packages above it would import all of LittleQ.
    spec = importlib.util.spec_from_file_location("guardian", GUARDIAN_PROGRAM)
    if spec is None or spec.loader is None:
        raise ImportError(f"no program is at {GUARDIAN_PROGRAM}")
    guardian = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(guardian)
    deadline = time.monotonic() + SERVER_SECONDS
    while data.is_dir() and any(
        guardian.is_held(data / name) for name in (guardian.GUARDIAN, guardian.SERVER)
    ):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


if __name__ == "__main__":
    sys.exit(main())
