"""Ready, alive, or why not: pure, from readings and the time.

alive  The worker's loop turns. What holds the whole interpreter, a C call that keeps its lock, is excused for as long
       as a job may take by its time limit; being stuck beside that is not. A broker that is away is no reason to kill
       anybody: that mends no broker.
ready  Alive, started, not stopping, the broker answers, and each consumer fetches.

Seconds of a loop are counted where the interpreter ran (`Field.STUCK`), so a machine that was suspended, or a job that
has just let go of the lock, is not taken for a loop that hangs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from littleq.health.pulse import Kind, State
from littleq.health.readings import Reading

#: A process that gives no sign of its interpreter for so long, and runs no job that may hold it, hangs; is not ready.
HUNG_SECONDS, SILENT_SECONDS = 30.0, 10.0
#: A consumer whose loop has not turned for so long hangs, and is not ready, in seconds. While the broker is silent, one
#: without timeouts of its own (a stock one) may wait longer: Linux takes two minutes to give up connecting.
STUCK_SECONDS, SLOW_SECONDS, WAITING_SECONDS = 60.0, 10.0, 300.0
#: A broker that has not answered for so long is away, in seconds: it is asked every second or two.
ANSWER_SECONDS = 6.0
#: A process that has not started by then never will, in seconds.
START_SECONDS = 600.0


class Verdict(NamedTuple):
    """An answer.

    Attributes:
        ok: yes.
        known: somebody is here to speak of.
        reason: a sentence.
    """

    ok: bool
    reason: str
    known: bool = True


def judge(readings: Sequence[Reading], now: float, *, live: bool) -> Verdict:
    """Whether all processes here are ready, or (`live`) alive.

    Args:
        now: monotonic, s.
    """
    latest = max((reading.since for reading in readings if reading.kind is Kind.WORKER), default=0.0)
    heard = [r for r in readings if r.kind is not Kind.LAUNCHER or (r.lives and r.since > latest)]
    if not heard:
        return Verdict(ok=False, reason="no worker has said here that it lives", known=False)
    for reading in heard:
        for problem in _not_alive(reading, now) if live else _not_ready(reading, now):
            return Verdict(ok=False, reason=f"{_who(reading)} {problem}.")
    workers = [reading for reading in heard if reading.kind is Kind.WORKER]
    wanted = max((reading.wanted for reading in heard), default=0)
    if not live and wanted and not workers:
        return Verdict(ok=False, reason=f"none of {wanted} worker processes has started yet.")
    return Verdict(ok=True, reason=_all_well(heard, workers, now))


def _all_well(heard: Sequence[Reading], workers: Sequence[Reading], now: float) -> str:
    for reading in heard:
        if reading.state is State.STARTING:
            return f"{_who(reading)} is starting, for {now - reading.since:.0f} s."
    running = sum(len(worker.jobs) for worker in workers)
    processes = "1 worker process" if len(workers) == 1 else f"{len(workers)} worker processes"
    return f"{processes}, {running} {'job' if running == 1 else 'jobs'} running."


def _who(reading: Reading) -> str:
    name = {Kind.WORKER: "worker process", Kind.LAUNCHER: "process", Kind.SUPERVISOR: "supervisor"}
    return f"{name[reading.kind]} {reading.pid}"


def _not_alive(reading: Reading, now: float) -> Iterator[str]:
    silence = now - reading.heard_at
    excused = any(until > now for until in reading.jobs)
    if not reading.lives:
        yield "has ended without a word: it was killed"
    elif reading.state is State.STARTING:
        if now - reading.since > START_SECONDS:
            yield f"has been starting for {now - reading.since:.0f} s"
    elif silence > HUNG_SECONDS and not excused:
        job = "its job is past its time limit" if reading.jobs else "it runs no job"
        yield f"hangs: it has given no sign for {silence:.0f} s and {job}"
    elif reading.state is State.RUNNING and reading.kind is Kind.WORKER:
        yield from _stuck(reading, now)


def _stuck(reading: Reading, now: float) -> Iterator[str]:
    if reading.dead_consumers:
        yield f"hangs: {reading.dead_consumers} of its {reading.consumers} consumer threads have ended"
    if reading.threads and reading.dead_threads == reading.threads:
        yield f"hangs: all of its {reading.threads} worker threads have ended"
    if reading.threads and sum(until <= now for until in reading.jobs) >= reading.threads:
        yield f"hangs: the jobs of all its {reading.threads} worker threads are past their time limits"
    patience = WAITING_SECONDS if _is_unanswered(reading, now) else STUCK_SECONDS
    if reading.stuck_seconds > patience:
        yield f"hangs: the loop of queue {reading.name!r} has not turned for {reading.stuck_seconds:.0f} s"


def _is_unanswered(reading: Reading, now: float) -> bool:
    """Whether the broker is silent; while the interpreter is, nobody can know."""
    return min(now, reading.heard_at) - (reading.answered_at or reading.since) > ANSWER_SECONDS


def _not_ready(reading: Reading, now: float) -> Iterator[str]:
    yield from _not_alive(reading, now)
    silence = now - reading.heard_at
    if reading.state is State.STARTING:
        yield f"is starting, for {now - reading.since:.0f} s"
    elif reading.state is State.STOPPING:
        yield f"is stopping, for {now - reading.since:.0f} s"
    elif silence > SILENT_SECONDS and not reading.jobs:
        yield f"has given no sign for {silence:.0f} s"
    elif reading.kind is Kind.WORKER:
        yield from _consumes_not(reading, now)


def _consumes_not(reading: Reading, now: float) -> Iterator[str]:
    if not reading.answered_at:
        yield f"has had no answer from the broker yet, for {now - reading.since:.0f} s"
    if _is_unanswered(reading, now):
        yield f"waits for the broker, which has not answered for {now - reading.answered_at:.0f} s"
    if reading.away_since:
        yield f"cannot consume queue {reading.name!r}, for {now - reading.away_since:.0f} s"
    if not reading.consumers:
        yield "serves no queue"
    if reading.stuck_seconds > SLOW_SECONDS:
        yield f"does not fetch: the loop of queue {reading.name!r} has not turned for {reading.stuck_seconds:.0f} s"
