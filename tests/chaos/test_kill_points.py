"""kill -9 at every point of a job's life, one after the other.

A worker works off a job that fails once, one that was delayed and one that is never cured, and is killed at
its k-th command to the server: right before it, or right after, with the answer on its way. Then another
worker takes over. Whatever k is, no job is lost, none is doubled in the queue, and the accounts balance.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis.connection
from dramatiq import Worker
from dramatiq.middleware import CurrentMessage

from littleq.config import SLAQueueConfig
from tests.support import App, eventually

QUEUE = SLAQueueConfig(
    "q", admission="off", min_backoff_seconds=0.01, max_backoff_seconds=0.02, max_retries=1
)
#: A whole life takes about thirty commands; beyond that the worker idles and is killed while it polls.
KILL_POINTS = range(1, 34)


def build(make_app: Callable[..., App], ran: Path) -> App:
    app = make_app(QUEUE, heartbeat_timeout=1000)
    app.broker.add_middleware(CurrentMessage())

    def work(name: str) -> None:
        with ran.open("a") as log:
            log.write(name + "\n")
        message = CurrentMessage.get_current_message()
        if name == "bad" or (name == "once" and not message.options.get("retries")):
            raise RuntimeError(name)

    app.actor(work, actor_name="work", queue_name="q")
    return app


def work_until_killed(app: App, point: int, *, after: bool) -> None:
    """In a forked child: count this process's commands, and die at the `point`-th. Never returns."""
    send = redis.connection.AbstractConnection.send_packed_command
    numbers = itertools.count(1)

    def counted(self: Any, *arguments: Any, **options: Any) -> None:
        is_the_one = next(numbers) == point
        if is_the_one and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        send(self, *arguments, **options)
        if is_the_one:
            time.sleep(0.02)  # the server has it by now; its answer is never read
            os.kill(os.getpid(), signal.SIGKILL)

    redis.connection.AbstractConnection.send_packed_command = counted  # type: ignore[method-assign]
    Worker(app.broker, worker_threads=2, worker_timeout=20).start()
    time.sleep(20)
    os._exit(1)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("whose", ["our_app", "make_app"], ids=["ours", "dramatiqs"])
def test_no_kill_point_loses_or_doubles_a_job(
    request: pytest.FixtureRequest, tmp_path: Path, *, whose: str, after: bool
) -> None:
    make_app = request.getfixturevalue(whose)
    for point in KILL_POINTS:
        ran = tmp_path / f"{point}.log"
        app = build(make_app, ran)
        app.broker.client.flushall()
        actor = app.broker.get_actor("work")
        actor.send("once")
        actor.send("bad")
        actor.send_with_options(args=("later",), delay=10)
        child = os.fork()
        if child == 0:
            work_until_killed(app, point, after=after)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), f"the worker was to be killed at command {point}"
        truth = app.truth()
        assert truth.imbalance == 0, f"killed at {point}: {truth}"
        app.everyone_else_is_dead()
        survivor = app.work()
        eventually(app.idle, what=f"the end, after a kill at command {point},")
        survivor.stop()
        truth = app.truth()
        assert truth.imbalance == 0, f"killed at {point}: {truth}"
        assert (truth.accounts.admitted, truth.accounts.done, truth.dead) == (3, 2, 1), f"killed at {point}"
        assert set(ran.read_text().split()) == {"once", "bad", "later"}
