"""A job from its send to its end: order, delay, retry, timing, and a job that takes long."""

from __future__ import annotations

import time

import littleq
from littleq.backends.capabilities import Capabilities
from tests.conformance.brokers.live import Live
from tests.conformance.brokers.stage import SLACK, Stage


def test_a_job_runs_once_with_what_was_sent(live: Live) -> None:
    app, queue = live.app, live["plain"]
    sent = app.send(queue, 1, "fail", 0)
    assert sent.queue_name == queue
    app.ran(queue, 1)
    assert app.numbers(queue).count(1) == 1


def test_jobs_come_in_the_order_that_is_promised(live: Live, can: Capabilities) -> None:
    app, queue = live.app, live["order"]
    numbers = range(24)
    for number in numbers:
        app.send(queue, number, partition_key=f"key-{number % 2}")
    app.ran(queue, *numbers)
    began = app.numbers(queue, "began")
    if can.order.value == "fifo":
        assert began == list(numbers)
    elif can.order.value == "by key":
        for key in (0, 1):
            assert [n for n in began if n % 2 == key] == list(range(key, 24, 2))
    else:
        assert sorted(began) == list(numbers)


def test_a_delayed_job_is_not_early_and_not_late(live: Live, can: Capabilities) -> None:
    app, queue = live.app, live["plain"]
    sent = {}
    for number, delay in ((11, 700), (12, 1300)):
        sent[number] = time.time() + delay / 1000
        app.send(queue, number, delay=delay)
    app.ran(queue, 11, 12)
    for line in app.log(queue, "began"):
        due = sent.get(line["n"])
        if due is not None:
            assert -0.005 < line["at"] - due < can.delay.value + SLACK


def test_a_wait_is_measured_from_the_due_time(live: Live) -> None:
    app, queue = live.app, live["plain"]
    due = time.time() + 0.5
    app.send(queue, 21, delay=500)
    app.ran(queue, 21)
    [line] = [line for line in app.log(queue, "began") if line["n"] == 21]
    assert abs(line["record"]["ready_at"] - due) < 0.25
    assert "waiting_due" not in line["record"]


def test_a_failed_job_comes_again_after_its_backoff(live: Live) -> None:
    app, queue = live.app, live["hurt"]
    app.send(queue, 1, "fail", 2)
    app.ran(queue, 1)
    began = [line for line in app.log(queue, "began") if line["n"] == 1]
    failed = [line for line in app.log(queue, "failed") if line["n"] == 1]
    assert [line["retries"] for line in began] == [0, 1, 2]
    for failure, again in zip(failed, began[1:], strict=True):
        backoff = again["record"]["backoff"]
        assert 0.15 <= backoff <= 0.6
        assert -0.005 < again["at"] - failure["at"] - backoff < SLACK + live.app.can.delay.value
        assert abs(again["record"]["ready_at"] - failure["at"] - backoff) < 0.25
    totals = app.totals(queue)
    assert (totals["started"], totals["failed"], totals["retried"], totals["done"]) == (3, 2, 2, 1)


def test_many_messages_are_sent_at_once(live: Live, can: Capabilities) -> None:
    app, queue = live.app, live["plain"]
    numbers = range(100, 200)
    sent = littleq.send_many([app.message(queue, number) for number in numbers], broker=app.broker)
    assert [each.message.args[0] for each in sent if each.outcome != "shed"] == list(numbers)
    app.ran(queue, *numbers)
    assert sorted(n for n in app.numbers(queue) if n in numbers) == list(numbers)
    assert hasattr(app.broker, "enqueue_many") == can.batch.value


def test_many_messages_with_a_delay_wait_for_it(live: Live, can: Capabilities) -> None:
    app, queue = live.app, live["plain"]
    due = time.time() + 0.6
    littleq.send_many([app.message(queue, n) for n in (31, 32)], delay=600, broker=app.broker)
    app.ran(queue, 31, 32)
    began = [line["at"] - due for line in app.log(queue, "began") if line["n"] in (31, 32)]
    assert all(-0.005 < late < can.delay.value + SLACK for late in began)


def test_a_wide_fleet_is_useful_or_the_broker_says_how_wide(
    stage: Stage, can: Capabilities, live: Live
) -> None:
    most = live.app.backend.most_workers(live["plain"])
    assert most is None if can.useful_workers.value else most is not None and most >= 1
