"""`littleq up` and `littleq controller` up to the moment when they start anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Littleq = Callable[..., Any]

APP = """
import dramatiq, littleq
littleq.setup(url="redis://127.0.0.1:1", queues=[littleq.SLAQueueConfig("mail", min_workers=1)])

@dramatiq.actor(queue_name="mail")
def send() -> None: ...

@dramatiq.actor(queue_name="report")
def report() -> None: ...
"""
ELSEWHERE = """
import dramatiq, littleq
from dramatiq.brokers.redis import RedisBroker
broker = littleq.install(RedisBroker(url="redis://:hunter2@127.0.0.1:2"))
dramatiq.set_broker(broker)

@dramatiq.actor(queue_name="mail")
def send() -> None: ...
"""
STUB = APP.replace("redis://127.0.0.1:1", "stub://")


@pytest.mark.parametrize(
    ("source", "args", "says"),
    [
        (APP, ("up", "nowhere"), "No module is called 'nowhere' in "),
        (
            APP,
            ("up", "app_under_test", "-q", "mial"),
            "No queue is called 'mial'; known queues: mail, report.",
        ),
        (APP, ("up", "app_under_test", "--grace", "0"), "'0' is not a duration above 0"),
        (STUB, ("up", "app_under_test"), "A queue at stub:// lives in one process"),
        (
            ELSEWHERE,
            ("up", "app_under_test"),
            "The app's broker is at another server than its configuration says",
        ),
        (
            APP,
            ("controller", "app_under_test"),
            "'app_under_test' declares no scaling actor: call declare_scaling_actor",
        ),
        (APP, ("controller", "--json"), "--json goes with --once"),
        (APP, ("controller", "nowhere"), "No module is called 'nowhere' in "),
    ],
)
def test_bad_input_is_one_sentence_and_starts_nothing(
    *, littleq: Littleq, app: Any, source: str, args: tuple[str, ...], says: str
) -> None:
    app(source)
    answer = littleq(*args)
    assert answer.code == 2
    assert says in answer.err
    assert answer.err.count("\n") == 1
    assert "hunter2" not in answer.err
