"""From Dramatiq's messages to the arguments of `enqueue.lua`, and back from its answers."""

from __future__ import annotations

import itertools
import os
import time
from typing import Any

from dramatiq import Message
from dramatiq.common import current_millis, dq_name

from littleq import job
from littleq.backends.base import Receipt, Sending
from littleq.backends.forms import encoded, ready_form, with_options


class Ids:
    """Names for jobs: `<message id>.<name of this process><number>`.

    A message may be in the broker twice (sent twice, or a retry beside its dead letter), so its own id does not do;
    with it in front, the delayed jobs of a message are found by name.
    """

    def __init__(self) -> None:
        self._process = os.urandom(4).hex()
        self._numbers = itertools.count()

    def new(self, message_id: str) -> str:
        return f"{message_id}.{self._process}{next(self._numbers):x}"


def named(sending: Sending, redis_message_id: str) -> Message[Any]:
    """The message as Dramatiq's hooks see it."""
    if sending.delay is None:
        return with_options(sending.message, redis_message_id=redis_message_id)
    delayed = with_options(
        sending.message, redis_message_id=redis_message_id, eta=current_millis() + sending.delay
    )
    return delayed.copy(queue_name=dq_name(delayed.queue_name))


class Args:
    """The arguments of `enqueue.lua`: what messages in a row have in common is said once."""

    def __init__(self, worker: str, *, whole: bool) -> None:
        self.list: list[Any] = [worker, "1" if whole else ""]
        self._common: tuple[Any, ...] | None = None
        self._count_at = 0

    def add(self, sending: Sending, message: Message[Any]) -> None:
        """One message, which has passed the hooks."""
        queue, options, delay = sending.message.queue_name, message.options, sending.delay
        if not job.is_known(options):  # no middleware stamps it: the accounts know a job by its stamp
            job.write(options, ready_at=time.time() + (delay or 0) / 1000)
        ready = message if delay is None else ready_form(message, queue)
        held, late = sending.held, sending.overflow_delay
        common = (
            queue,
            "" if delay is None else delay,
            "" if sending.bound is None else sending.bound,
            "" if late is None else late,
            "1" if held is None or not job.is_known(held.options) else "",
            "" if held is None else held.queue_name,
            "" if held is None else held.options["redis_message_id"],
        )
        if common != self._common:
            self._common = common
            self.list += (*common, 0)
            self._count_at = len(self.list) - 1
        self.list[self._count_at] += 1
        self.list += (options["redis_message_id"], encoded(ready))
        if late is not None:
            delayed = ready.copy()
            job.write(delayed.options, ready_at=time.time() + late / 1000, outcome="deferred")
            self.list.append(encoded(delayed))


def receipt(message: Message[Any], answer: int) -> Receipt:
    """What one answer of `enqueue.lua` says."""
    if answer < 0:
        return Receipt(message, "full", -1 - answer)
    return Receipt(message, ("gone", "in", "deferred")[answer])
