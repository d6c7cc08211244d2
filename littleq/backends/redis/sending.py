"""From Dramatiq's messages to the arguments of `enqueue.lua`, and back from its answers.

A message is stored in the form in which a worker will get it: its own queue, no `eta`. When it is due is known to the
schedule alone, so that its promotion is a move and nothing is encoded twice.
"""

from __future__ import annotations

import itertools
import os
import time
from typing import TYPE_CHECKING, Any

from dramatiq.common import current_millis, dq_name

from littleq import job
from littleq.backends.base import Receipt, Sending

if TYPE_CHECKING:
    from dramatiq import Message

class Ids:
    """Names for jobs: `<message id>.<name of this process><number>`.

    A message may be in the broker twice (sent twice, or a retry beside its dead letter), so its own id does not do; with it in
    front, the delayed jobs of a message are found by name.
    """

    def __init__(self) -> None:
        self._process = os.urandom(4).hex()
        self._numbers = itertools.count()

    def new(self, message_id: str) -> str:
        return f"{message_id}.{self._process}{next(self._numbers):x}"


def named(sending: Sending, redis_message_id: str) -> Message[Any]:
    """The message as Dramatiq's hooks see it."""
    if sending.delay is None:
        return sending.message.copy(options={"redis_message_id": redis_message_id})
    return sending.message.copy(
        queue_name=dq_name(sending.message.queue_name),
        options={"redis_message_id": redis_message_id, "eta": current_millis() + sending.delay},
    )


def ready_form(message: Message[Any], queue: str) -> Message[Any]:
    """The message as a worker will get it when it is due."""
    options = {key: value for key, value in message.options.items() if key != "eta"}
    if job.read(options).get("waiting_due"):
        job.write(options, waiting_due=None)
    ready = message.copy(queue_name=queue)
    ready.options.clear()
    ready.options.update(options)
    return ready


def arguments(sending: Sending, message: Message[Any]) -> tuple[Any, ...]:
    """What `enqueue.lua` wants to know of one message, which has passed the hooks."""
    queue, options, delay = sending.message.queue_name, message.options, sending.delay
    if not job.is_known(options):  # no middleware stamps it: the accounts know a job by its stamp
        job.write(options, ready_at=time.time() + (delay or 0) / 1000)
    ready = message if delay is None else ready_form(message, queue)
    overflow: tuple[Any, Any] = ("", "")
    if sending.overflow_delay is not None:
        late = ready.copy()
        job.write(
            late.options, ready_at=time.time() + sending.overflow_delay / 1000, outcome="deferred"
        )
        overflow = sending.overflow_delay, late.encode()
    held = sending.held
    joins = held is None or not job.is_known(held.options)
    return (
        queue,
        options["redis_message_id"],
        ready.encode(),
        "" if delay is None else delay,
        "" if sending.bound is None else sending.bound,
        *overflow,
        "1" if joins else "",
        "" if held is None else held.queue_name,
        "" if held is None else held.options["redis_message_id"],
    )


def receipt(message: Message[Any], answer: int) -> Receipt:
    """What one answer of `enqueue.lua` says."""
    if answer < 0:
        return Receipt(message, "full", -1 - answer)
    return Receipt(message, ("gone", "in", "deferred")[answer])
