"""A queue from outside: its bound, its truth table, and what an operator can do to it."""

from __future__ import annotations

import threading
import time

import pytest

import littleq
from littleq.backends.capabilities import Capabilities
from tests.conformance.brokers.live import COMMON, SENDERS, TEN, Live
from tests.conformance.brokers.stage import SLACK, Stage


def test_threads_that_send_at_once_never_pass_the_bound(stage: Stage, can: Capabilities) -> None:
    app, queue = stage.fresh("bound", **TEN)
    admitted: list[int] = []
    threads = [threading.Thread(target=lambda: admitted.append(app.fill(queue, 12))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if can.bound.value == "sampled":  # what is on its way may count twice: never too few
        assert sum(admitted) <= 10
        app.until(lambda: admitted.append(app.fill(queue, 1)) or sum(admitted) >= 10, what="ten jobs")
    assert sum(admitted) == 10
    app.until(lambda: app.truth(queue).ready == 10, what="ten jobs")
    with pytest.raises(littleq.Overloaded) as refused:
        app.send(queue, 99)
    assert (refused.value.queue, refused.value.limit) == (queue, 10)
    sent = littleq.send_many([app.message(queue, n) for n in range(3)], broker=app.broker)
    assert [each.outcome for each in sent] == ["shed"] * 3


def test_processes_that_send_at_once_pass_the_bound_as_far_as_is_said(
    stage: Stage, live: Live, can: Capabilities
) -> None:
    if not stage.subject.shared:
        assert can.restart.value is False  # one process is all there is
        return
    queue = live["bound"]
    app = stage.app({queue: TEN})
    processes = [sender.process for sender in live.senders]
    for process in processes:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    admitted = sum(int(process.stdout.readline()) for process in processes)
    # Each process alone keeps to the bound, and all of them once a sample is no older than what they sent.
    most = 10 * SENDERS if can.bound.value == "sampled" else 10
    assert 10 - SENDERS <= admitted <= most
    app.until(lambda: app.truth(queue).ready == admitted, what="what was admitted")
    time.sleep(4 * app.crew.config.sample_seconds)
    assert app.fill(queue, 5) == max(0, 10 - admitted)


def test_what_was_admitted_once_is_never_refused(stage: Stage) -> None:
    """A due job and a retry find their queue full, and come in."""
    short = {"min_backoff_seconds": 0.05, "max_backoff_seconds": 0.1, "max_retries": 3, "retry_budget": 100.0}
    app, queue = stage.fresh("full", **TEN, **short)
    app.send(queue, 1, "fail", 2, delay=300)
    admitted = 0
    while admitted < 20:
        try:
            app.send(queue, 10 + admitted, "fail", 1)
        except littleq.Overloaded:
            break
        admitted += 1
    # A sampled depth counts a job on its way twice, at worst: one by each of two samples.
    assert 8 <= admitted <= 10
    app.work()
    app.ran(queue, 1, *range(10, 10 + admitted))
    app.rest()
    assert list(app.backend.dead_letters.letters(queue)) == []


def test_a_queue_without_workers_is_seen_as_it_is(stage: Stage, can: Capabilities) -> None:
    app, queue = stage.fresh("truth")
    for number in range(3):
        app.send(queue, number)
    app.send(queue, 9, delay=60_000)

    def seen() -> bool:
        truth = app.truth(queue)
        return (truth.ready, truth.delayed, truth.in_flight, truth.dead, truth.orphaned) == (3, 1, 0, 0, 0)

    app.until(seen, what="three ready jobs and a delayed one")
    truth = app.truth(queue)
    missing = {"next_due"} if truth.next_due is None else set()
    missing |= {"oldest_age"} if truth.oldest_age is None else set()
    fields = {"ready", "in_flight", "delayed", "dead", "orphaned", "oldest_age", "next_due"}
    assert truth.approximate | missing >= fields - can.truth
    assert not (truth.approximate | missing) & can.truth
    if truth.oldest_age is not None:
        assert 0 <= truth.oldest_age < 20
    if truth.next_due is not None:
        assert 30 < truth.next_due <= 60.5
    assert app.backend.inspector.depths([queue])[queue] == truth.number_in_system
    assert queue in app.backend.inspector.queues()
    assert (truth.accounts is None) == (can.accounts.value == "ledger")


def test_pause_is_pause_or_there_is_none(stage: Stage, can: Capabilities) -> None:
    app, queue = stage.fresh("pause")
    controls = app.backend.controls
    assert (controls is not None) == can.pause.value
    if controls is None:
        return
    app.work()
    assert controls.pause(queue) is True
    assert controls.pause(queue) is False
    app.send(queue, 1)
    time.sleep(0.4)
    assert app.numbers(queue, "began") == []
    assert app.truth(queue).paused
    assert controls.resume(queue) is True
    app.ran(queue, 1)


def test_a_delayed_job_is_taken_away_or_cannot_be(stage: Stage, can: Capabilities) -> None:
    app, queue = stage.fresh("cancel")
    first = app.send(queue, 1, delay=60_000)
    app.send(queue, 2, delay=600_000)
    schedule = app.backend.schedule
    assert (schedule is not None) == (can.cancel.value or can.due_times.value)
    if schedule is None:
        return
    if can.due_times.value:
        app.until(
            lambda: list(schedule.due_times(queue, [1.0, 200.0, 2000.0])) == [0, 1, 2], what="two due times"
        )
        # Far enough apart for a broker that knows them to within a factor of two.
        several = schedule.due_times_of({queue: [200.0], stage.queue("none"): [5.0]})
        assert [list(counts) for counts in several.values()] == [[1], [0]]
    if can.cancel.value:
        assert schedule.cancel(queue, first.message_id) == 1
        assert schedule.cancel(queue, first.message_id) == 0
        app.until(lambda: app.truth(queue).delayed == 1, what="one delayed job")


def test_a_bound_on_the_fleet_is_held_or_is_one_on_each_process(stage: Stage, can: Capabilities) -> None:
    settings = {**COMMON, "concurrency": 2, "concurrency_global": 2}
    queue = stage.queue("fleet")
    apps = [stage.app({queue: settings}) for _ in range(2 if stage.subject.shared else 1)]
    for app in apps:
        app.work(threads=4)
    for number in range(12):
        apps[0].send(queue, number, "sleep", 0.1)
    apps[0].ran(queue, *range(12))
    for app in apps:
        app.rest()
    running = most = 0
    for line in sorted(apps[0].log(queue), key=lambda line: line["at"]):
        running += 1 if line["event"] == "began" else -1
        most = max(most, running)
    assert most <= (2 if can.fleet_concurrency.value or len(apps) == 1 else 4)


def test_the_server_answers_a_ping_and_is_known_by_its_url(stage: Stage, live: Live) -> None:
    backend = live.app.backend
    if backend.ping is None:
        assert not stage.subject.shared
        return
    began = time.monotonic()
    backend.ping()
    assert time.monotonic() - began < 2 + SLACK
    assert backend.serves(stage.subject.url)
    assert not backend.serves("redis://somewhere.example:1/9")
