"""A program: one function, in a process of its own, for as long as the supervisor lives.

    python -m littleq.autoscale.pool.part FD module:function [ARGUMENTS…]

For what runs once beside the workers: the exporter and whatever else the app wants forked (`Middleware.forks`), and
periodiq's scheduler. What the function returns is the exit code; SIGTERM ends it.
"""

from __future__ import annotations

import importlib
import logging
import signal
import socket
import sys

from littleq.autoscale.pool.child import LOG_FORMAT
from littleq.autoscale.pool.leash import Leash

#: An orphan that is deaf for SIGTERM is ended after so long, in seconds (and the margin of a leash).
GRACE_SECONDS = 2.0


def main() -> int:
    """Run the function; its exit code."""
    leash, path, arguments = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the supervisor to hear
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as in Dramatiq's fork processes
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    if "" not in sys.path:
        sys.path.insert(0, "")
    line = Leash(socket.socket(fileno=leash), grace=GRACE_SECONDS)
    line.hold()
    module, _, name = path.partition(":")
    function = getattr(importlib.import_module(module), name)
    line.ready()
    return int(function(*arguments) or 0)


def schedule(*modules: str) -> int:
    """Run periodiq's scheduler for the periodic actors of these modules.

    It ends with any error of a send, a server that is away for a moment included: whoever started it starts it again.
    """
    import periodiq  # noqa: PLC0415  # it brings pendulum: a tenth of a second for whoever runs another part

    return int(periodiq.main(periodiq.make_argument_parser().parse_args([*modules])) or 0)


if __name__ == "__main__":
    sys.exit(main())
