"""What `littleq worker` becomes: `dramatiq`, which says at its end why.

    python -m littleq.lifecycle.launch <arguments of dramatiq>

Nothing of Dramatiq's is changed: its main process, its worker processes, its logs, signals and exit codes. What it does
not do is done here: its worker processes say why they end, except those that are killed; their pulse is left behind,
and tells that.
"""

from __future__ import annotations

import os
import sys
import time

from littleq.health import pulse
from littleq.health.pulse import Kind, State
from littleq.health.readings import Reading, read
from littleq.lifecycle import endings


def main() -> int:
    """Run Dramatiq; its exit code."""
    import dramatiq.__main__ as program  # noqa: PLC0415  # after the pulse: it takes a third of a second
    from dramatiq.cli import main as run  # noqa: PLC0415

    endings.begin()
    sys.argv[0] = str(program.__file__)  # by which Dramatiq knows how to start itself again (--watch, SIGHUP)
    began = time.monotonic()
    code = int(run() or 0)
    dead = [reading for reading in _left_behind() if reading.since >= began]
    if dead or not endings.has_said_why():
        endings.say_why(reason(code, dead))
    for reading in dead:
        pulse.forget(reading.pid)
    pulse.forget_own()
    return code


def reason(code: int, dead: list[Reading]) -> str:
    """Why it ended, in a sentence.

    Args:
        dead: worker processes that were killed.
    """
    for reading in dead:
        jobs = len(reading.jobs)
        if reading.state is State.STARTING:
            return f"Worker process {reading.pid} ended while it started: its log says why."
        return (
            f"Worker process {reading.pid} was killed while it ran {jobs} {'job' if jobs == 1 else 'jobs'} (out of "
            "memory?); they went back to the queue."
        )
    return {
        endings.DRAINED: "Stopped before a job was taken.",
        endings.BAD_INPUT: "The app cannot be imported, or the command line is wrong: the log says which.",
        endings.NOT_CONNECTED: "The broker cannot be reached: check LITTLEQ_URL.",
    }.get(code, f"Ended with status {code}: the log says why.")


def _left_behind() -> list[Reading]:
    try:
        found = read(pulse.folder())
    except OSError:
        return []
    return [r for r in found if not r.lives and r.kind is Kind.WORKER and r.parent == os.getpid()]


if __name__ == "__main__":
    sys.exit(main())
