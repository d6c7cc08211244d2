"""The command line: `littleq worker`, `producer`, `monitor`, `dlq`, `audit`, `exporter` and `config`.

One file a command; `root` gathers them. Click and Rich are an extra, since a worker needs neither.
"""

from __future__ import annotations

import sys


def main() -> None:
    """The `littleq` console script."""
    try:
        import click  # noqa: F401  # only to see whether it is there
        import rich  # noqa: F401
    except ImportError as error:
        sys.stderr.write(f"littleq: the command line needs {error.name}: pip install 'littleq[cli]'\n")
        sys.exit(2)
    from littleq.cli.root import run

    sys.exit(run(sys.argv[1:]))
