"""What the fork server of a pool imports, before it forks anybody: Dramatiq and LittleQ, never the app.

Imported by multiprocessing, and by nobody else: it also keeps signals away that are sent to a whole process group or
unit (`timeout`, systemd). They mean the supervisor and its workers; without their fork server the supervisor would
take its workers for dead. It ends with the supervisor.
"""

import os
import signal
from contextlib import suppress

from littleq.autoscale.pool import child

with suppress(OSError):
    os.setpgid(0, 0)
for _number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(_number, signal.SIG_IGN)

__all__ = ["child"]
