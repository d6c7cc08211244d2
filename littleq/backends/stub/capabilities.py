"""What Dramatiq's StubBroker can be held to."""

from __future__ import annotations

from littleq.backends.capabilities import (
    ALL_WORKERS,
    NO_CANCEL,
    NO_DUE_TIMES,
    NO_FLEET_CONCURRENCY,
    NO_PAUSE,
    Capabilities,
    Fact,
)

_GONE = Fact(None, "Nothing is left of a process that dies: its memory was the broker.")

CAPABILITIES = Capabilities(
    broker="StubBroker, for tests",
    bound=Fact("atomic", "Exact within the process, which is all there is."),
    order=Fact("fifo", "As sent."),
    delay=Fact(0.1, "Held in the memory of the worker, looked at at each poll."),
    move=Fact("copy first", "A retry is enqueued, then the job is acked."),
    recovery=_GONE,
    machine_recovery=_GONE,
    restart=Fact(False, "There is no server."),
    poison=Fact("broker", "A job that kills its worker ends with it."),
    dead_letters=Fact(None, "As long as the process lives."),
    pause=NO_PAUSE,
    cancel=NO_CANCEL,
    due_times=NO_DUE_TIMES,
    fleet_concurrency=NO_FLEET_CONCURRENCY,
    batch=Fact(False, "No: there is no round trip to save."),
    accounts=Fact("exact", "In the process."),
    useful_workers=ALL_WORKERS,
    truth=frozenset({"ready", "in_flight", "delayed", "dead", "orphaned", "oldest_age"}),
    truth_says="When the next delayed job is due is not known.",
)
