"""Workers that die, leave or are killed by a job; servers that are killed."""

from __future__ import annotations

import signal
import time
from dataclasses import replace

import littleq
from littleq.backends.capabilities import Capabilities
from littleq.cli.audit import examine
from tests.conformance.brokers.live import COMMON, Live
from tests.conformance.brokers.stage import SLACK, App, Stage


def recovery_bound(stage: Stage, can: Capabilities) -> float:
    """Seconds until the jobs of a killed process run again."""
    found = can.recovery.value
    return float(stage.subject.machine_recovery if found is None else found) + SLACK


def test_a_killed_process_takes_no_job_along(stage: Stage, live: Live, can: Capabilities) -> None:
    if not stage.subject.shared:
        app, queue = stage.fresh("kill")
        app.send(queue, 1)
        assert can.recovery.value is None and can.restart.value is False
        assert (
            stage.app({queue: COMMON}).truth(queue).number_in_system == 0
        )  # as another process would see it
        return
    queue = live["kill"]
    app = stage.app({queue: COMMON})
    for number in range(5):
        app.send(queue, number)
    app.ran(queue, *range(5), seconds=30)
    app.until(lambda: app.settled(queue), what="the acks")
    due = time.time() + 2.5
    app.send(queue, 99, delay=2500)
    for number in range(10, 16):
        app.send(queue, number, "block")
    app.until(lambda: len(app.numbers(queue, "began")) == 7, what="two jobs that block")
    app.until(lambda: app.truth(queue).delayed == 1, what="a delayed job")
    held = set(app.numbers(queue, "began")[5:])
    live.victim.kill()
    killed = time.time()
    app.work(queue)
    bound = recovery_bound(stage, can)
    app.ran(queue, *range(10, 16), 99, seconds=bound + 5)
    ended = app.numbers(queue)
    assert sorted(n for n in ended if n < 5) == list(range(5)), "acked, and done again"
    began = {line["n"]: line["at"] for line in app.log(queue, "began")}
    recovery = max(began[number] for number in held) - killed
    print(f"{stage.subject.name}: jobs of a killed process ran again after {recovery:.2f} s")
    assert recovery < bound
    assert began[99] - due > -0.005
    assert sorted(n for n in app.numbers(queue, "began") if 10 <= n < 20 and n not in held) == sorted(
        set(range(10, 16)) - held
    )
    app.until(lambda: app.settled(queue), what="the end")
    app.rest()


def test_a_worker_that_is_told_to_leave_ends_what_runs_and_gives_back_the_rest(
    stage: Stage, live: Live, can: Capabilities
) -> None:
    if not stage.subject.shared:
        return
    queue = live["term"]
    app = stage.app({queue: COMMON})
    app.send(queue, 1, "wait")
    app.until(lambda: app.numbers(queue, "began") == [1], 30, "the job that runs")
    app.send(queue, 2)
    app.send(queue, 3)
    time.sleep(0.3)  # the second one is prefetched by now
    live.leaving.process.send_signal(signal.SIGTERM)
    if can.order.value == "by key":
        # What stands behind a running job stays behind it. Another worker comes when this one has gone: tansu keeps a
        # leader of a group for ever that leaves while another one joins.
        app.until(lambda: "Stopping worker process" in live.leaving.log.read_text(), what="the signal")
        app.touch(f"{queue}-1-go")
    else:
        app.work(queue)
        app.ran(queue, 2, 3)
        assert 1 not in app.numbers(queue), "it runs on"
        app.touch(f"{queue}-1-go")
    assert live.leaving.process.wait(20) == 0, live.leaving.log.read_text()[-2000:]
    if can.order.value == "by key":
        app.work(queue)
        app.ran(queue, 2, 3)
    app.until(lambda: app.settled(queue), what="the ack of the job that ran")
    assert sorted(app.numbers(queue)) == [1, 2, 3]
    assert app.numbers(queue, "began").count(1) == 1
    app.rest()


def test_a_job_that_kills_its_workers_stops_and_its_neighbours_do_not(
    stage: Stage, live: Live, can: Capabilities
) -> None:
    if not stage.subject.shared:
        assert can.poison.value == "broker"  # it ends with its worker: there is nothing to observe
        return
    queue = live["poison"]
    app = stage.app({queue: {**COMMON, "max_deliveries": 2}})
    neighbours = (2, 3, 4)
    messages = [app.message(queue, 1, "die"), *(app.message(queue, number) for number in neighbours)]
    littleq.send_many(messages, broker=app.broker)
    most = stage.subject.max_deliveries
    letters = app.letters(queue, 1, seconds=20 + most * recovery_bound(stage, can))
    [letter] = [letter for letter in letters if letter.args[0] == 1]
    assert (letter.death["reason"], letter.death["attempts"]) == ("poison", most)
    assert app.numbers(queue, "began").count(1) == most
    buried = {found.args[0] for found in letters} - {1}
    assert not buried or can.poison.value == "handed out"
    app.ran(queue, *set(neighbours) - buried, seconds=20 + recovery_bound(stage, can))
    app.until(lambda: app.settled(queue), what="the acks")
    assert sorted(found.args[0] for found in app.letters(queue, 1)) == [1, *sorted(buried)]
    live.mortal.kill()


def test_a_server_that_is_killed_keeps_what_it_promises(stage: Stage, live: Live, can: Capabilities) -> None:
    """A delayed job is due while the server is away."""
    if not can.restart.value:
        assert not stage.subject.shared
        return
    subject, server = live.own_server()
    queue, still = stage.queue("again"), stage.queue("still")
    settings = {**COMMON, "max_retries": 0}
    app = App(subject, replace(stage.crew, url=subject.url, queues={queue: settings, still: settings}))
    app.work(queue)
    app.send(queue, 1, "ill")
    app.letters(queue, 1)
    for number in range(3):
        app.send(still, number)
    app.send(queue, 7, delay=1500)
    server.kill()
    server.start()
    app.until(lambda: app.truth(still).ready == 3, 30, "what was ready")
    app.ran(queue, 7, seconds=30)
    app.send(queue, 8)
    app.ran(queue, 8, seconds=30)
    assert [letter.args[0] for letter in app.letters(queue, 1)] == [1]
    app.close()


def test_a_job_longer_than_every_timeout_runs_once(live: Live) -> None:
    """It began when the stage was set."""
    app, queue = live.app, live["long"]
    app.ran(queue, 1, seconds=live.stage.subject.long_seconds + 20)
    app.until(lambda: app.settled(queue), what="its ack")
    assert app.numbers(queue, "began") == [1]


def test_every_job_that_was_admitted_is_accounted_for(live: Live, can: Capabilities) -> None:
    app = live.app
    names = list(app.crew.queues)
    for name in names:
        app.until(lambda name=name: app.settled(name), what=f"the end of {name}")
        truth, totals = app.truth(name), app.totals(name)
        if can.accounts.value == "exact":
            assert examine(app.backend.inspector, name).holds, truth
            continue
        admitted = sum(
            count for field, count in totals.items() if field.startswith(("admitted:", "bypassed:"))
        )
        dead = sum(count for field, count in totals.items() if field.startswith("dead:"))
        assert admitted + live.replayed[name] == totals.get("done", 0) + totals.get("skipped", 0) + dead, (
            name,
            totals,
        )
