"""What one worker process of a pool does.

Does what `dramatiq` does in each worker process (imports the app, runs a Worker) without the process around it, which
can start and stop its workers only all at once. It is forked from a process that has imported Dramatiq and LittleQ and
nothing else (`processes`), so what is left to import is the app: it is ready in a quarter of the time of a new
interpreter, and shares that memory. The app itself is never imported before the fork: it may open connections.
The functions that the app wants forked (`Middleware.forks`) run once a pool, not here.

SIGTERM: what is prefetched goes back at once, running jobs have the grace period, and what is still running then goes
back uncharged: its end is nobody's fault. A SIGTERM two seconds later cuts that short; sooner it is the same one, for
systemd tells each process, and the supervisor tells us once more. Exit codes are Dramatiq's: 2 where the app
cannot be imported, 3 where the broker cannot be reached.
"""

from __future__ import annotations

import importlib
import logging
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from multiprocessing.connection import Connection

import dramatiq
from dramatiq import Broker
from dramatiq.errors import BrokerConnectionError

# Not needed by name: whatever apps use is imported before the fork.
import littleq.server.exporter
import littleq.stack  # noqa: F401
from littleq.autoscale.pool.leash import Leash
from littleq.autoscale.pool.worker import ElasticWorker
from littleq.health import pulse
from littleq.lifecycle.endings import BAD_INPUT, NOT_CONNECTED, say_why
from littleq.middleware import Pulse
from littleq.middleware.draining import SECOND_SIGNAL_SECONDS

logger = logging.getLogger("littleq.pool.worker")

#: As Dramatiq writes its lines.
LOG_FORMAT = "[%(asctime)s] [PID %(process)d] [%(threadName)s] [%(name)s] [%(levelname)s] %(message)s"


@dataclass(frozen=True)
class Work:
    """What a worker process is to do.

    Attributes:
        modules: to import, as for `dramatiq`: the first may name a broker.
        queue: to serve.
        threads: jobs at a time.
        grace: seconds that running jobs may take once it is to stop.
    """

    modules: Sequence[str]
    queue: str
    threads: int
    grace: float


class Stopping:
    """Waits for signals in the main thread, without a lock that a signal handler could find taken."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the supervisor to hear
        self._on_signal(lambda: os.write(self._writer, b"."))

    def wait(self) -> None:
        """Until the next signal."""
        os.read(self._reader, 1)

    def cut_short_by(self, end: Callable[[], object], after: float = SECOND_SIGNAL_SECONDS) -> None:
        """A signal that comes `after` so many seconds or later calls `end`."""
        since = time.monotonic() + after
        self._on_signal(lambda: time.monotonic() >= since and end())

    def _on_signal(self, call: Callable[[], object]) -> None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: call())


def load(modules: Sequence[str]) -> Broker:
    """The broker of the app, as `dramatiq` finds it: `module`, `module:broker` or `module:function`."""
    name, _, path = modules[0].partition(":")
    module = importlib.import_module(name)
    try:
        found = reduce(getattr, path.split("."), module) if path else None
    except AttributeError as error:
        raise ImportError(f"module {name!r} does not define {path!r}") from error
    if callable(found) and not isinstance(found, Broker):
        found()
    broker = found if isinstance(found, Broker) else dramatiq.get_broker()
    broker.emit_after("process_boot")
    for other in modules[1:]:
        importlib.import_module(other)
    return broker


def run(line: socket.socket, output: Connection | None, environment: Mapping[str, str], work: Work) -> None:
    """Be a worker process, until told to stop; called in the fork. Does not return.

    Args:
        line: to the supervisor.
        output: takes what it writes; None: the stderr of the supervisor does.
        environment: its variables; the fork server has those of the moment when it was started.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)  # the fork server ignores them
    os.setsid()  # a process group of its own, so that it can be ended with all that its jobs have started
    os.dup2(2 if output is None else output.fileno(), 1)
    os.dup2(1, 2)
    os.environ.clear()
    os.environ.update(environment)
    random.seed()  # the fork has its parent's state
    sys.exit(_work(line, work))


def _work(line: socket.socket, work: Work) -> int:
    """Work until told to stop; the exit code."""
    stopping = Stopping()
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    if "" not in sys.path:
        sys.path.insert(0, "")
    worker: ElasticWorker | None = None
    leash = Leash(line, busyness=lambda: (0, 0) if worker is None else worker.busyness, grace=work.grace)
    leash.hold()
    pulse.start()
    try:
        broker = load(work.modules)
        worker = ElasticWorker(broker, queues={work.queue}, worker_threads=work.threads)
        worker.start()
    except BrokerConnectionError:
        logger.exception("The broker cannot be reached.")
        pulse.end()
        say_why("A worker process cannot reach the broker: check LITTLEQ_URL.")
        return NOT_CONNECTED
    except Exception:  # whatever the app does at its import
        logger.exception("The app cannot be imported.")
        pulse.end()
        say_why("A worker process cannot import the app: the log says where it fails.")
        return BAD_INPUT
    if not any(isinstance(middleware, Pulse) for middleware in broker.middleware):
        pulse.end()  # an app without the stack: nobody would go on with it
    leash.ready()
    stopping.wait()
    leash.slip()
    drain = worker.drain
    stopping.cut_short_by(lambda: drain.cut_short("a second signal came"))
    worker.stop(round(work.grace * 1000))
    if drain.is_busy:
        drain.cut_short(f"they did not end within {work.grace:g} s")
    broker.close()
    return 0
