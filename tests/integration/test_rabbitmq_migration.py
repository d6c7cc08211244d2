"""Queues that plain Dramatiq declared, and plain Dramatiq processes that use them meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dramatiq.brokers.rabbitmq import RabbitmqBroker as DramatiqRabbitmqBroker

from littleq.backends import backend_for
from littleq.config import SLAQueueConfig
from littleq.errors import BackendError
from tests.brokers.rabbitmq import RabbitApp, RabbitServer
from tests.support import eventually

MakeApp = Callable[..., RabbitApp]


@pytest.fixture
def plain(rabbit: RabbitServer) -> Iterator[DramatiqRabbitmqBroker]:
    broker = DramatiqRabbitmqBroker(url=f"amqp://guest:guest@127.0.0.1:{rabbit.port}", confirm_delivery=True)
    yield broker
    broker.close()


def test_a_fleet_moves_from_plain_dramatiq_and_nothing_stays_behind(
    rabbit: RabbitServer,
    rabbit_app: MakeApp,
    plain: DramatiqRabbitmqBroker,
    queue: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, seen = rabbit_app(SLAQueueConfig(queue, arrival_rate=20, sla_seconds=1)), []
    work = app.actor(seen.append, actor_name="work", queue_name=queue)
    doomed = app.actor(lambda: 1 / 0, actor_name="doomed", queue_name=queue, max_retries=0)
    plain.enqueue(work.message("ready"))
    plain.enqueue(work.message("delayed"), delay=1500)
    plain.enqueue(work.message("late"), delay=3_600_000)
    with rabbit.channel() as channel:
        channel.basic_publish("", f"{queue}.XQ", doomed.message().encode())
    assert (app.truth(queue).ready, app.truth(queue).delayed, app.truth(queue).dead) == (1, 2, 1)

    work.send("ours")
    doomed.send()
    app.work(threads=1)
    eventually(lambda: sorted(seen) == ["delayed", "ours", "ready"])
    plain.enqueue(work.message("from a plain producer"))
    eventually(lambda: "from a plain producer" in seen)
    truth = app.truth(queue)
    assert truth.delayed == 1
    assert sum(app.broker.on_rungs(queue)) == 1  # and not in the memory of a worker

    # What died in plain Dramatiq would be forgotten after a week; what dies now is kept elsewhere, and both are seen.
    letters = list(app.backend.dead_letters.letters(queue))
    assert {letter.actor for letter in letters} == {"doomed"} and len(letters) == 2
    assert f"Dead letters go to '{queue}@letters'" in caplog.text
    assert app.broker.count(f"{queue}@letters") == 1
    assert all(app.backend.dead_letters.replay(queue, letter.letter_id) for letter in letters)
    eventually(lambda: app.truth(queue).dead == 2)
    assert app.broker.count(f"{queue}@letters") == 2


def test_queues_of_plain_dramatiq_are_bounded_exactly_too(
    rabbit_app: MakeApp, plain: DramatiqRabbitmqBroker, queue: str
) -> None:
    app = rabbit_app(SLAQueueConfig(queue, arrival_rate=5, sla_seconds=1))
    work = app.actor(lambda: None, actor_name="work", queue_name=queue)
    plain.declare_queue(queue, ensure=True)
    taken = 0
    for _ in range(8):
        try:
            work.send()
            taken += 1
        except Exception as error:
            assert "is full" in str(error)
    assert taken == 5


def test_dramatiqs_own_broker_is_refused_with_the_way_out(plain: Any) -> None:
    with pytest.raises(BackendError, match=r"littleq\.backends\.rabbitmq\.RabbitmqBroker"):
        backend_for(plain)
