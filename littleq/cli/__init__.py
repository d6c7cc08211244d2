"""The command line: `littleq worker`, `producer`, `monitor`, `dlq`, `queue`, `audit`, `exporter` and `config`.

One file a command; `root` gathers them. Click and Rich are an extra, since a worker needs neither.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """The `littleq` console script."""
    if sys.argv[1:2] == [
        "health"
    ]:  # a probe: started every few seconds in each pod, and click is half of its time
        from littleq.health.probe import run_quickly

        answer = run_quickly(sys.argv[1:])
        if answer is not None:
            print(answer.line, file=sys.stderr if answer.line.startswith("littleq:") else sys.stdout)
            sys.exit(answer.code)
    try:
        import click  # noqa: F401  # only to see whether it is there
        import rich  # noqa: F401
    except ImportError as error:
        sys.stderr.write(f"littleq: the command line needs {error.name}: pip install 'littleq[cli]'\n")
        sys.exit(2)
    from littleq.cli.root import run

    if sys.stdout is None:  # closed by whoever started us: there is nobody to show anything to
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - for as long as the process lives
    sys.exit(run(sys.argv[1:]))
