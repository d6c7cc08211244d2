"""First sends are judged; nothing else is."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from dramatiq import Message
from dramatiq.errors import ConnectionClosed
from dramatiq.middleware import GroupCallbacks, MiddlewareError
from dramatiq.rate_limits.backends import StubBackend
from dramatiq.results import Results
from dramatiq.results.backends import StubBackend as ResultsStub

import littleq
from littleq import job
from littleq.config import SLAQueueConfig
from littleq.errors import ValidationError
from littleq.middleware import Overloaded

Make = Callable[..., Any]
TEN = SLAQueueConfig("q", arrival_rate=10, sla_seconds=1)


def fill(actor: Any, jobs: int) -> None:
    for _ in range(jobs):
        actor.send()


def test_the_contract_admits_exactly_its_limit(make_stack: Make) -> None:
    stack = make_stack(TEN)
    actor = stack.actor(lambda: None, actor_name="a", queue_name="q")
    fill(actor, 10)
    with pytest.raises(Overloaded) as refused:
        actor.send()
    assert (refused.value.queue, refused.value.depth, refused.value.limit) == ("q", 10, 10)
    assert refused.value.retry_after == pytest.approx(0.1)
    assert "send again in 0.10 s" in str(refused.value)
    assert stack.truth("q").ready == 10
    counts = stack.counts("q")
    assert (counts["offered:default"], counts["admitted:default"], counts["shed:default"]) == (11, 10, 1)


def test_overloaded_is_a_littleq_and_a_dramatiq_error_and_survives_pickling(make_stack: Make) -> None:
    error = Overloaded("q", depth=3, limit=3, retry_after=0.5)
    assert isinstance(error, littleq.LittleQError)
    assert isinstance(error, MiddlewareError)
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.queue, copy.depth, copy.limit, copy.retry_after, str(copy)) == ("q", 3, 3, 0.5, str(error))


def test_the_bound_holds_for_many_producers_at_once(make_stack: Make) -> None:
    stack = make_stack(SLAQueueConfig("q", arrival_rate=50, sla_seconds=1))
    actor = stack.actor(lambda: None, actor_name="a", queue_name="q")
    start = threading.Barrier(8)
    shed: list[int] = []

    def produce() -> None:
        start.wait()
        for _ in range(50):
            try:
                actor.send()
            except Overloaded:
                shed.append(1)

    threads = [threading.Thread(target=produce) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stack.truth("q").ready == 50
    assert len(shed) == 350


def test_a_send_that_cannot_be_encoded_gives_its_place_back(make_stack: Make) -> None:
    stack = make_stack(SLAQueueConfig("q", arrival_rate=1, sla_seconds=1))
    actor = stack.actor(lambda thing: None, actor_name="a", queue_name="q")
    with pytest.raises(TypeError):
        actor.send(object())
    actor.send(1)
    assert stack.truth("q").ready == 1
    assert stack.counts("q")["offered:default"] == 1


@pytest.mark.parametrize(("criticality", "admitted"), [("critical", 10), ("default", 8), ("sheddable", 5)])
def test_criticality_is_refused_at_its_share(make_stack: Make, criticality: str, admitted: int) -> None:
    shares = {"critical": 1.0, "default": 0.8, "sheddable": 0.5}
    stack = make_stack(SLAQueueConfig("q", arrival_rate=10, sla_seconds=1, criticality_shares=shares))
    actor = stack.actor(lambda: None, actor_name="a", queue_name="q")
    for _ in range(admitted):
        actor.send_with_options(criticality=criticality)
    with pytest.raises(Overloaded):
        actor.send_with_options(criticality=criticality)
    assert stack.counts("q")[f"shed:{criticality}"] == 1


def test_criticality_of_the_message_goes_before_that_of_the_actor(make_stack: Make) -> None:
    stack = make_stack(TEN)
    actor = stack.actor(lambda: None, actor_name="a", queue_name="q", criticality="sheddable")
    fill(actor, 5)
    with pytest.raises(Overloaded):
        actor.send()
    actor.send_with_options(criticality="critical")
    with pytest.raises(ValidationError, match="criticality is 'high': choose critical, default or sheddable"):
        actor.send_with_options(criticality="high")
    assert stack.truth("q").ready == 6


def test_a_queue_that_is_not_configured_never_refuses(make_stack: Make) -> None:
    stack = make_stack()
    actor = stack.actor(lambda: None, actor_name="a", queue_name="q")
    fill(actor, 500)
    assert stack.truth("q").ready == 500
    assert stack.counts("q")["bypassed:default"] == 500
    assert stack.counts("q")["offered:default"] == 500


def test_deferred_jobs_line_up_for_room(make_stack: Make) -> None:
    stack = make_stack(SLAQueueConfig("q", arrival_rate=10, sla_seconds=1, on_overload="defer"))
    actor = stack.actor(lambda: None, actor_name="a", queue_name="q")
    fill(actor, 10)
    late = [actor.send() for _ in range(3)]
    now = stack.clock.now()
    waits = [job.read(message.options)["ready_at"] - now for message in late]
    assert waits == pytest.approx([0.125, 0.25, 0.375])
    assert [job.read(message.options)["outcome"] for message in late] == ["deferred"] * 3
    assert (stack.truth("q").ready, stack.truth("q").delayed) == (10, 3)
    assert stack.counts("q")["deferred:default"] == 3


def test_diverted_jobs_run_from_the_other_queue(make_stack: Make) -> None:
    ran: list[str] = []
    stack = make_stack(
        SLAQueueConfig("q", arrival_rate=1, sla_seconds=2, on_overload="divert", divert_to="slow"),
        SLAQueueConfig("slow", arrival_rate=1, sla_seconds=1),
    )
    actor = stack.actor(ran.append, actor_name="a", queue_name="q")
    actor.send("first")
    actor.send("second")
    actor.send("third")
    with pytest.raises(Overloaded):  # the other queue keeps its own limit
        actor.send("fourth")
    assert (stack.truth("q").ready, stack.truth("slow").ready) == (2, 1)
    stack.run("q", "slow")
    assert sorted(ran) == ["first", "second", "third"]
    assert stack.counts("q")["diverted:default"] == 1
    assert stack.counts("slow")["admitted:default"] == 1
    assert stack.truth("slow").imbalance == 0


def test_a_due_delayed_job_is_never_refused(make_stack: Make) -> None:
    """Hazard 2: refused when due, it would kill the consumer loop."""
    ran: list[int] = []
    stack = make_stack(SLAQueueConfig("q", arrival_rate=1, sla_seconds=1))
    actor = stack.actor(ran.append, actor_name="a", queue_name="q")
    actor.send_with_options(args=(1,), delay=5)
    actor.send(2)
    stack.run("q")
    assert sorted(ran) == [1, 2]
    counts = stack.counts("q")
    assert counts["offered:default"] == 2  # hazard 6: it passes `enqueue` twice and arrives once
    assert stack.truth("q").imbalance == 0


def test_a_retry_is_never_refused(make_stack: Make) -> None:
    """Hazard 2: refused, it would be acked and lost."""
    attempts: list[int] = []
    stack = make_stack(SLAQueueConfig("q", arrival_rate=1, sla_seconds=1, min_backoff_seconds=0.001))

    def fail_once() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            actor.send_with_options()  # fills the only place while this one fails
            raise RuntimeError

    actor = stack.actor(fail_once, actor_name="a", queue_name="q", criticality="critical")
    with pytest.raises(Overloaded):
        fill(actor, 2)
    stack.work(1)
    stack.broker.join("q", fail_fast=False, timeout=10_000)
    counts = stack.counts("q")
    assert counts.get("retried", 0) >= 1
    assert counts["done"] == stack.truth("q").accounts.done
    assert stack.truth("q").imbalance == 0
    assert stack.truth("q").dead == 0


def test_the_next_link_of_a_pipeline_is_never_refused(make_stack: Make) -> None:
    ran: list[str] = []
    stack = make_stack(SLAQueueConfig("second", arrival_rate=1, sla_seconds=1))
    first = stack.actor(lambda: "x", actor_name="first", queue_name="first")
    second = stack.actor(ran.append, actor_name="second", queue_name="second")
    second.send("filler")
    (first.message() | second.message()).run()
    with pytest.raises(Overloaded):
        second.send("refused")
    worker = stack.work()
    stack.broker.join("first", timeout=10_000)
    stack.broker.join("second", timeout=10_000)
    worker.stop()
    assert sorted(ran) == ["filler", "x"]
    assert stack.counts("second")["bypassed:default"] <= 1
    assert stack.truth("second").imbalance == 0


def test_callbacks_of_a_full_queue_still_run(make_stack: Make) -> None:
    told: list[Any] = []
    stack = make_stack(SLAQueueConfig("callbacks", arrival_rate=1, sla_seconds=1))
    tell = stack.actor(lambda data, result: told.append(result), actor_name="tell", queue_name="callbacks")
    work = stack.actor(lambda: None, actor_name="work", queue_name="work", on_success="tell")
    tell.send(None, "filler")
    fill(work, 3)
    stack.run("work", "callbacks")
    assert len(told) == 4


def test_a_periodic_message_is_never_refused(make_stack: Make) -> None:
    """Hazard 20: periodiq's scheduler ends on any exception from `send`."""
    stack = make_stack(SLAQueueConfig("q", arrival_rate=1, sla_seconds=1))
    actor = stack.actor(lambda: None, actor_name="a", queue_name="q")
    actor.send()
    actor.send_with_options(scheduled_at="2026-11-24 04:00:00+00:00")
    assert stack.truth("q").ready == 2


def test_a_group_is_admitted_whole_or_not_at_all(make_stack: Make) -> None:
    """Hazard 19: a refusal midway would leave half a group."""
    stack = make_stack(TEN)
    actor = stack.actor(lambda: None, actor_name="a", queue_name="q")
    fill(actor, 4)
    dramatiq.group([actor.message() for _ in range(6)], broker=stack.broker).run()
    stack.broker.flush("q")
    fill(actor, 5)
    with pytest.raises(Overloaded, match="a group of 6 would pass its limit of 10"):
        dramatiq.group([actor.message() for _ in range(6)], broker=stack.broker).run()
    assert stack.truth("q").ready == 5
    with pytest.raises(Overloaded, match="can never fit its limit of 10: split the group"):
        dramatiq.group([actor.message() for _ in range(11)], broker=stack.broker).run()
    actor.send()  # a refused group holds no places
    assert stack.counts("q")["shed:default"] == 17


def test_a_refused_group_with_a_callback_sends_nothing(make_stack: Make) -> None:
    done: list[int] = []
    stack = make_stack(TEN)
    stack.broker.add_middleware(GroupCallbacks(StubBackend()))
    actor = stack.actor(lambda: None, actor_name="a", queue_name="q")
    finish = stack.actor(lambda: done.append(1), actor_name="finish", queue_name="done")
    fill(actor, 8)
    group = dramatiq.group([actor.message() for _ in range(3)], broker=stack.broker)
    group.add_completion_callback(finish.message())
    with pytest.raises(Overloaded):
        group.run()
    assert stack.truth("q").ready == 8
    stack.broker.flush("q")
    group.run()
    stack.run("q", "done")
    assert done == [1]


def test_a_group_of_pipelines_is_judged_by_first_links(make_stack: Make) -> None:
    stack = make_stack(
        SLAQueueConfig("first", arrival_rate=2, sla_seconds=1), SLAQueueConfig("second", arrival_rate=1)
    )
    first = stack.actor(lambda: None, actor_name="first", queue_name="first")
    second = stack.actor(lambda *_: None, actor_name="second", queue_name="second")
    pipes = [first.message() | second.message() for _ in range(2)]
    dramatiq.group(pipes, broker=stack.broker).run()
    with pytest.raises(Overloaded):
        dramatiq.group(pipes[:1], broker=stack.broker).run()
    assert stack.truth("first").ready == 2


def test_admission_fails_open_and_counts_it(make_stack: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hazard 1, turned to our side: a broken gate lets jobs in."""
    stack = make_stack(TEN)
    actor = stack.actor(lambda: None, actor_name="a", queue_name="q")

    def broken(*_: object) -> None:
        raise OSError("no depth today")

    monkeypatch.setattr(stack.gate.admission.depth, "take", broken)
    fill(actor, 20)
    counts = stack.counts("q")
    assert counts["bypassed:default"] == 20
    assert counts["errors:admission"] == 20


def test_a_message_sent_by_a_hook_during_a_retry_is_a_send_of_its_own(make_stack: Make) -> None:
    stack = make_stack(
        SLAQueueConfig("q", arrival_rate=5, sla_seconds=1, min_backoff_seconds=0.001, max_retries=1)
    )

    class Auditor(dramatiq.Middleware):
        def before_enqueue(self, broker: Any, message: Message[Any], delay: int | None) -> None:
            if message.options.get("retries") and message.actor_name == "fails":
                log.send()

    stack.broker.add_middleware(Auditor())
    log = stack.actor(lambda: None, actor_name="log", queue_name="log")

    def fails() -> None:
        raise RuntimeError

    stack.actor(fails, actor_name="fails", queue_name="q").send()
    stack.run("q", "log")
    assert stack.truth("log").accounts.done == 2  # once for the retry, once when it is due
    assert stack.truth("q").imbalance == 0
    assert stack.truth("log").imbalance == 0
    assert stack.truth("q").dead == 1


def test_an_apps_own_criticality_option_is_its_own_where_nothing_is_configured(make_stack: Make) -> None:
    stack = make_stack()
    stack.actor(lambda: None, actor_name="a", queue_name="q").send_with_options(criticality="high")
    assert stack.truth("q").ready == 1
    assert stack.counts("q")["offered:default"] == 1


def test_a_strangers_delayed_job_is_not_judged_when_it_is_due(make_stack: Make) -> None:
    """Sent before the stack was installed, or by a process without it. Refused, it would end the consumer loop."""
    ran: list[int] = []
    stack = make_stack(SLAQueueConfig("q", arrival_rate=1, sla_seconds=1))
    actor = stack.actor(ran.append, actor_name="a", queue_name="q")
    late = actor.message(1).copy(queue_name="q.DQ", options={"eta": 1})
    stack.broker.queues["q.DQ"].put(late.encode())
    actor.send(2)
    stack.run("q")
    assert sorted(ran) == [1, 2]
    truth = stack.truth("q")
    assert (truth.accounts.admitted, truth.accounts.done, truth.imbalance) == (1, 1, 0)


def test_an_outage_between_two_links_costs_no_link(make_stack: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dramatiq swallows what its Pipelines raise, and acks the first link."""
    monkeypatch.setattr("littleq.gate.FOLLOW_UP_PAUSE_SECONDS", 0)
    ran: list[str] = []
    stack = make_stack()
    enqueue, refusals = stack.gate._enqueue, [ConnectionClosed("away"), ConnectionRefusedError("still away")]

    def flaky(message: Any, *, delay: int | None = None) -> Any:
        if message.actor_name == "second" and refusals:
            raise refusals.pop(0)
        return enqueue(message, delay=delay)

    stack.gate._enqueue = flaky
    first = stack.actor(lambda: ran.append("first"), actor_name="first", queue_name="q")
    second = stack.actor(lambda *_: ran.append("second"), actor_name="second", queue_name="q")
    (first.message() | second.message()).run()
    stack.run("q")
    assert ran == ["first", "second"]


def test_a_send_that_is_refused_in_another_middlewares_hook_stops_no_ack(make_stack: Make) -> None:
    """`Overloaded` is a MiddlewareError: raised in `before_ack`, it would keep the job from being acked."""
    stack = make_stack(SLAQueueConfig("full", arrival_rate=1, sla_seconds=1))
    log = stack.actor(lambda: None, actor_name="log", queue_name="full")

    class Logger(dramatiq.Middleware):
        def before_ack(self, broker: Any, message: Any) -> None:
            if message.actor_name == "work":
                log.send()

    stack.broker.add_middleware(Logger())
    work = stack.actor(lambda: None, actor_name="work", queue_name="q")
    fill(work, 3)
    stack.run("q", "full")
    assert stack.truth("q").accounts.done == 3
    assert stack.truth("full").accounts.done == 3


def test_the_result_of_a_diverted_job_is_found(make_stack: Make) -> None:
    stack = make_stack(
        SLAQueueConfig("q", arrival_rate=1, sla_seconds=1, on_overload="divert", divert_to="slow"),
    )
    backend = ResultsStub()
    stack.broker.add_middleware(Results(backend=backend))
    double = stack.actor(lambda number: 2 * number, actor_name="double", queue_name="q", store_results=True)
    group = dramatiq.group([double.message(1)], broker=stack.broker).run()
    diverted = double.send(21)
    stack.run("q", "slow")
    assert diverted.queue_name == "slow"
    assert diverted.get_result(backend=backend) == 42
    assert list(group.get_results()) == [2]


def test_a_deferred_group_keeps_a_longer_delay_of_its_own(make_stack: Make) -> None:
    stack = make_stack(SLAQueueConfig("q", arrival_rate=1, sla_seconds=1, on_overload="defer"))
    actor = stack.actor(lambda *_: None, actor_name="a", queue_name="q")
    actor.send()
    late = dramatiq.pipeline([actor.message_with_options(delay=60_000), actor.message()], broker=stack.broker)
    dramatiq.group([late], broker=stack.broker).run()
    (data,) = stack.broker.queues["q.DQ"].queue
    assert Message.decode(data).options["eta"] / 1000 == pytest.approx(time.time() + 60, abs=5)
