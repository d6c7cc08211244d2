"""A Dramatiq worker process in one mode: `python -m benchmarks.worker MODE`. Runs until it is killed."""

from __future__ import annotations

import os
import signal
import sys

from dramatiq import Worker

from benchmarks.systems import THREADS
from benchmarks.systems.dramatiq_app import App


def main() -> None:
    app = App(sys.argv[1], os.environ["LITTLEQ_BENCH_URL"])
    worker = Worker(app.broker, worker_threads=THREADS)
    worker.start()
    signal.sigwait([signal.SIGTERM])
    worker.stop()


if __name__ == "__main__":
    main()
