"""Random interleavings of all operations and deaths on a real server: where each job is, the accounts, the order."""

from __future__ import annotations

import os
from typing import Any

import pytest
from dramatiq import Message
from dramatiq.broker import MessageProxy
from dramatiq.brokers.redis import RedisBroker as PlainBroker
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)
from redis import Redis

from littleq import job, passage
from littleq.backends import backend_for
from littleq.backends.base import Sending
from littleq.backends.redis.broker import RedisBroker
from littleq.passage import Bound, Passage, QueueFull
from tests.integration.queue_model import MAX_DELIVERIES, Model

QUEUE = "q"
BOUND = 6
PREFETCH = 4
FAR = 1_000_000.0  # s: a due time that only `time_passes` reaches
SHIFT_MS = (
    FAR * 1000 + 1000
)  # by which the schedule is pushed then: a second more than the longest of these tests
SCHEDULE = "littleq:dramatiq:q:schedule"
WORKERS = ("ann", "bob", "cat")


class Process:
    """A worker process: its broker and consumer, and the jobs that it was given."""

    def __init__(self, url: str) -> None:
        self.broker = RedisBroker(
            client=Redis.from_url(url), middleware=[], watch=False, max_deliveries=MAX_DELIVERIES
        )
        self.consumer: Any = self.broker.consume(QUEUE, prefetch=PREFETCH, timeout=0)
        self.running: dict[str, MessageProxy] = {}
        self.acked: list[str] = []  # written down, and not sent yet as far as the model knows
        self.cached: list[str] = []

    @property
    def waiting_acks(self) -> int:
        return len(self.consumer._desk._acks)


class Accounting(RuleBasedStateMachine):
    """Each rule does a thing to the server and to the model; the invariant compares the two."""

    url: str
    letters = Bundle("letters")

    @initialize()
    def start(self) -> None:
        self.client = Redis.from_url(self.url)
        self.client.flushall()
        self.model = Model()
        self.now, self.shifted = 0.0, 0.0
        self.numbers = iter(range(10**6))
        self.processes = {name: Process(self.url) for name in WORKERS}
        self.operator = Process(self.url).broker
        self.backend = backend_for(self.operator)
        self.message_ids: dict[str, str] = {}

    def message(self) -> Message[Any]:
        return Message(QUEUE, "actor", (), {}, {}, message_id=f"m{next(self.numbers)}")

    def came_in(self, sent: Message[Any], due: float | None) -> None:
        job_id = sent.options["redis_message_id"]
        self.message_ids[job_id] = sent.message_id
        self.model.comes_in(job_id, due)
        if due is not None:
            # Two that are due in the same moment of the test are not in the same millisecond of the server.
            self.model.order[job_id] = self.client.zscore(SCHEDULE, job_id) + self.shifted

    # Sending.

    @rule(who=st.sampled_from(WORKERS), is_bounded=st.booleans(), delay=st.sampled_from([None, None, 1, 2]))
    def send(self, who: str, is_bounded: bool, delay: int | None) -> None:
        is_full = is_bounded and self.model.depth >= BOUND
        bound = Bound(BOUND) if is_bounded else None
        ms = None if delay is None else int(FAR * 1000 * delay)
        with passage.on(Passage("send", bound=bound)):
            try:
                sent = self.processes[who].broker.enqueue(self.message(), delay=ms)
            except QueueFull as full:
                assert is_full
                assert full.depth == self.model.depth
                return
        assert not is_full
        self.model.admitted += 1
        self.came_in(sent, None if delay is None else self.now + FAR * delay)

    @rule(who=st.sampled_from(WORKERS), jobs=st.integers(1, 5), whole=st.booleans())
    def send_many(self, who: str, jobs: int, whole: bool) -> None:
        room = max(0, BOUND - self.model.depth)
        sendings = [Sending(self.message(), bound=BOUND) for _ in range(jobs)]
        receipts = self.processes[who].broker.enqueue_many(sendings, whole=whole)
        came = [receipt.message for receipt in receipts if receipt.outcome == "in"]
        assert len(came) == ((jobs if jobs <= room else 0) if whole else min(jobs, room))
        for sent in came:
            self.model.admitted += 1
            self.came_in(sent, None)

    @rule()
    def a_plain_dramatiq_process_sends(self) -> None:
        message = self.message()
        sent = PlainBroker(client=self.client, middleware=[]).enqueue(message)
        self.came_in(sent, None)
        self.model.strangers.add(sent.options["redis_message_id"])

    # Working.

    @rule(who=st.sampled_from(WORKERS))
    def take_a_job(self, who: str) -> None:
        process = self.processes[who]
        free = PREFETCH - len(process.running) - len(process.cached)
        if not process.cached and free > 0:
            self.acks_arrive(who)
            process.cached += self.model.hands_out(who, min(free, PREFETCH // 2), self.now)
        taken = next(process.consumer)
        if not process.cached:
            assert taken is None
            return
        job_id = taken.options["redis_message_id"]
        assert job_id == process.cached.pop(0)
        assert taken.queue_name == QUEUE
        assert "eta" not in taken.options
        process.running[job_id] = taken

    def acks_arrive(self, who: str) -> None:
        process = self.processes[who]
        for job_id in process.acked:
            if job_id in self.model.held.get(who, {}):
                self.model.ends(who, job_id)
        process.acked.clear()

    def some_job(self, who: str, pick: int) -> MessageProxy | None:
        running = self.processes[who].running
        return running.pop(sorted(running)[pick % len(running)]) if running else None

    @rule(who=st.sampled_from(WORKERS), pick=st.integers(0, 9))
    def finish(self, who: str, pick: int) -> None:
        process, message = self.processes[who], self.some_job(who, pick)
        if message is not None:
            process.acked.append(message.options["redis_message_id"])
            process.consumer.ack(message)
            if process.waiting_acks == 0:
                self.acks_arrive(who)

    @rule(who=st.sampled_from(WORKERS))
    def send_acks(self, who: str) -> None:
        self.processes[who].consumer._flush()
        self.acks_arrive(who)

    @rule(target=letters, who=st.sampled_from(WORKERS), pick=st.integers(0, 9))
    def reject(self, who: str, pick: int) -> Any:
        message = self.some_job(who, pick)
        if message is None:
            return multiple()
        job_id = message.options["redis_message_id"]
        is_held = job_id in self.model.held.get(who, {})
        message.fail()
        job.write(message.options, dead={"reason": "refused", "at": 0.0})
        self.processes[who].consumer.nack(message)
        if not is_held:
            return multiple()
        self.model.dies(who, job_id)
        return job_id

    @rule(who=st.sampled_from(WORKERS), pick=st.integers(0, 9), delay=st.sampled_from([0, 1]))
    def retry(self, who: str, pick: int, delay: int) -> None:
        process, message = self.processes[who], self.some_job(who, pick)
        if message is None:
            return
        job_id = message.options["redis_message_id"]
        is_held = job_id in self.model.held.get(who, {})
        with passage.rescheduling(message):
            sent = process.broker.enqueue(message, delay=int(FAR * 1000 * delay))
        job.note(message, rescheduled=True)
        process.consumer.ack(message)
        if is_held:
            self.model.lets_go(who, job_id)
            self.model.deliveries.pop(job_id, None)
            if job_id in self.model.strangers:  # stamped now, and known from now on
                self.model.admitted += 1
            self.came_in(sent, None if delay == 0 else self.now + FAR * delay)

    @rule(who=st.sampled_from(WORKERS), pick=st.integers(0, 9))
    def give_back(self, who: str, pick: int) -> None:
        message = self.some_job(who, pick)
        if message is not None:
            self.processes[who].consumer.requeue([message])
            job_id = message.options["redis_message_id"]
            if job_id in self.model.held.get(who, {}):
                self.model.gives_back(who, [job_id])

    # Disasters.

    @rule(who=st.sampled_from(WORKERS))
    def kill_and_bury(self, who: str) -> None:
        gone = self.processes[who].broker.broker_id
        self.processes[who] = Process(self.url)
        back, poison = self.operator.bury(gone)
        before = len(self.model.dead)
        held = len(self.model.held.get(who, {}))
        self.model.is_buried(who)
        assert poison == len(self.model.dead) - before
        assert back == held - poison

    @rule(who=st.sampled_from(WORKERS))
    def an_answer_is_lost(self, who: str) -> None:
        """The server handed jobs out and the worker never heard of them."""
        process = self.processes[who]
        if process.cached:
            return
        self.acks_arrive(who)
        process.consumer._flush()
        process.broker.fetch(QUEUE, 2, 0, [])
        lost = self.model.hands_out(who, 2, self.now)
        process.consumer._leave_limbo()
        self.model.gives_back(who, lost)

    @rule(who=st.sampled_from(WORKERS))
    def is_taken_for_dead(self, who: str) -> None:
        """Silent for too long: its jobs go to others, and it forgets them."""
        self.processes[who].cached.clear()
        self.processes[who].consumer._cache.clear()
        self.operator.bury(self.processes[who].broker.broker_id)
        self.model.is_buried(who)
        self.processes[who].running.clear()
        self.processes[who].consumer._desk.running.clear()
        self.processes[who].consumer._desk.held.clear()
        self.processes[who].consumer._desk.take()
        self.processes[who].acked.clear()

    # Operating.

    @rule()
    def time_passes(self) -> None:
        """By pushing the schedule into the past: the server's clock cannot be driven."""
        self.now += FAR
        self.shifted += SHIFT_MS
        for job_id, due in self.client.zrange(SCHEDULE, 0, -1, withscores=True):
            self.client.zadd(SCHEDULE, {job_id: due - SHIFT_MS})

    @rule()
    def cancel_one(self) -> None:
        if self.model.delayed:
            job_id = min(self.model.delayed)
            assert self.operator.cancel(QUEUE, self.message_ids[job_id]) == 1
            del self.model.delayed[job_id]
            self.model.purged += 1
        assert self.operator.cancel(QUEUE, "m") == 0

    @rule()
    def pause(self) -> None:
        assert self.operator.pause(QUEUE) is not self.model.paused
        self.model.paused = True

    @rule()
    def resume(self) -> None:
        assert self.operator.resume(QUEUE) is self.model.paused
        self.model.paused = False

    @rule(letter=consumes(letters))
    def replay(self, letter: str) -> None:
        is_there = letter in self.model.dead
        assert self.backend.dead_letters.replay(QUEUE, letter) is is_there
        if is_there:
            self.model.dead.remove(letter)
            self.model.ready.append(letter)
            if letter in self.model.strangers:
                self.model.strangers.remove(letter)
                self.model.admitted += 1

    @rule(letter=consumes(letters))
    def purge(self, letter: str) -> None:
        is_there = letter in self.model.dead
        assert self.backend.dead_letters.purge(QUEUE, [letter]) == int(is_there)
        if is_there:
            self.model.dead.remove(letter)
            self.model.purged += 1

    @rule()
    @precondition(lambda self: len(self.model.dead) > 2)
    def flush(self) -> None:
        self.operator.flush(QUEUE)
        self.model.is_flushed()

    @invariant()
    def the_server_agrees(self) -> None:
        model = self.model
        truth = self.backend.inspector.truth([QUEUE])[QUEUE]
        overdue = sum(due <= self.now for due in model.delayed.values())
        held = sum(len(ids) for ids in model.held.values())
        assert truth.ready == len(model.ready) + overdue
        assert truth.in_flight + truth.orphaned == held
        assert truth.delayed == len(model.delayed) - overdue
        assert truth.dead == len(model.dead)
        assert truth.paused is model.paused
        accounts = truth.accounts
        assert accounts is not None
        assert (accounts.admitted, accounts.done, accounts.purged) == (
            model.admitted,
            model.done,
            model.purged,
        )
        listed = [job_id.decode() for job_id in self.client.lrange("dramatiq:q", 0, -1)]
        assert listed == model.ready, "FIFO"
        stored = {job_id.decode() for job_id in self.client.hkeys("dramatiq:q.msgs")}
        assert stored == {*model.ready, *(job_id for ids in model.held.values() for job_id in ids)}
        assert self.client.zcard("littleq:dramatiq:q:order") == held
        if not model.strangers:
            assert truth.imbalance == 0


@pytest.mark.parametrize("examples", [int(os.environ.get("ACCOUNTING_EXAMPLES", "40"))])
def test_every_interleaving_keeps_the_accounts(valkey_url: str, examples: int) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    class OnThisServer(Accounting):
        url = valkey_url

    run_state_machine_as_test(
        OnThisServer,
        settings=settings(
            max_examples=examples,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
