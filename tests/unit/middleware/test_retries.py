"""Failed jobs are tried again by the policy, and none is lost doing so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dramatiq import Middleware, Retry
from dramatiq.broker import MessageProxy
from dramatiq.errors import ConnectionClosed
from dramatiq.middleware import Retries, TimeLimitExceeded, default_middleware

from littleq.config import SLAQueueConfig
from littleq.middleware import ExponentialRetries, Overloaded

Make = Callable[..., Any]
FAST = SLAQueueConfig(
    "q", admission="off", min_backoff_seconds=0.001, max_backoff_seconds=0.002, max_retries=3
)


def failing(calls: list[int], error: type[BaseException] = RuntimeError) -> Callable[[], None]:
    def fail() -> None:
        calls.append(1)
        raise error("no")

    return fail


def test_dramatiqs_retries_are_replaced_in_their_place(make_stack: Make) -> None:
    stack = make_stack()
    kinds = [type(m) for m in stack.broker.middleware]
    assert Retries not in kinds
    assert kinds.index(ExponentialRetries) == [m.__name__ for m in default_middleware].index("Retries")


def test_an_apps_own_subclass_of_retries_stays(make_stack: Make) -> None:
    class Own(Retries):
        pass

    stack = make_stack(middleware=[Own()])
    kinds = [type(m) for m in stack.broker.middleware]
    assert Own in kinds
    assert ExponentialRetries not in kinds


def test_a_job_is_tried_max_retries_times_more(make_stack: Make) -> None:
    calls: list[int] = []
    stack = make_stack(FAST)
    stack.actor(failing(calls), actor_name="a", queue_name="q").send()
    stack.run("q")
    assert len(calls) == 4
    counts = stack.counts("q")
    assert (counts["retried"], counts["failed"], counts["dead:exhausted"]) == (3, 4, 1)
    assert stack.truth("q").dead == 1
    assert stack.truth("q").imbalance == 0


@pytest.mark.parametrize(
    ("message_option", "actor_option", "attempts"), [(None, None, 4), (None, 1, 2), (0, 1, 1), (2, None, 3)]
)
def test_options_go_message_actor_queue(
    make_stack: Make, message_option: int | None, actor_option: int | None, attempts: int
) -> None:
    calls: list[int] = []
    stack = make_stack(FAST)
    options = {} if actor_option is None else {"max_retries": actor_option}
    actor = stack.actor(failing(calls), actor_name="a", queue_name="q", **options)
    actor.send_with_options(**({} if message_option is None else {"max_retries": message_option}))
    stack.run("q")
    assert len(calls) == attempts


def test_a_queue_that_is_not_configured_keeps_the_apps_own_settings(make_stack: Make) -> None:
    calls: list[int] = []
    stack = make_stack(middleware=[Retries(max_retries=1, min_backoff=1, max_backoff=2)])
    stack.actor(failing(calls), actor_name="a", queue_name="plain").send()
    stack.run("plain")
    assert len(calls) == 2


def test_delays_follow_the_policy(make_stack: Make) -> None:
    """Decorrelated jitter needs the last wait, which travels with the message."""
    stack = make_stack(
        SLAQueueConfig("q", admission="off", jitter="equal", min_backoff_seconds=8, max_retries=5)
    )
    retries = stack.middleware(ExponentialRetries)
    delays: list[int] = []
    stack.broker.enqueue, real = (lambda message, delay=None: delays.append(delay)), stack.broker.enqueue
    actor = stack.actor(failing([]), actor_name="a", queue_name="q")
    proxy = MessageProxy(actor.message())
    for _ in range(3):
        retries.after_process_message(stack.broker, proxy, exception=RuntimeError())
    assert 4000 <= delays[0] <= 8000
    assert 8000 <= delays[1] <= 16000
    assert 16000 <= delays[2] <= 32000
    stack.broker.enqueue = real


def test_a_route_can_bury_or_drop_at_once(make_stack: Make) -> None:
    calls: list[int] = []
    routes = {"ValueError": "dead", "LookupError": "skip"}
    stack = make_stack(SLAQueueConfig("q", admission="off", min_backoff_seconds=0.001, retry_routes=routes))
    stack.actor(failing(calls, ValueError), actor_name="dead", queue_name="q").send()
    stack.actor(failing(calls, KeyError), actor_name="skip", queue_name="q").send()
    stack.run("q")
    assert len(calls) == 2
    counts = stack.counts("q")
    assert (counts["dead:refused"], counts["skipped"]) == (1, 1)
    truth = stack.truth("q")
    assert (truth.dead, truth.accounts.skipped, truth.imbalance) == (1, 1, 0)


def test_an_actor_routes_by_class(make_stack: Make) -> None:
    calls: list[int] = []
    stack = make_stack(FAST)
    stack.actor(failing(calls), actor_name="a", queue_name="q", retry_routes={RuntimeError: "dead"}).send()
    stack.run("q")
    assert len(calls) == 1


def test_throws_and_retry_when_mean_what_they_mean_in_dramatiq(make_stack: Make) -> None:
    thrown: list[int] = []
    asked: list[int] = []
    stack = make_stack(FAST)
    stack.actor(failing(thrown), actor_name="t", queue_name="q", throws=RuntimeError).send()
    stack.actor(
        failing(asked), actor_name="w", queue_name="q", retry_when=lambda retries, _: retries < 5
    ).send()
    stack.run("q")
    assert (len(thrown), len(asked)) == (1, 6)
    assert stack.counts("q")["dead:refused"] == 1
    assert stack.counts("q")["dead:exhausted"] == 1


def test_a_retry_exception_names_its_own_delay(make_stack: Make) -> None:
    calls: list[int] = []
    stack = make_stack(SLAQueueConfig("q", admission="off", min_backoff_seconds=3600, max_retries=1))

    def ask() -> None:
        calls.append(1)
        raise Retry(delay=1)

    stack.actor(ask, actor_name="a", queue_name="q").send()
    stack.run("q")  # would wait an hour
    assert len(calls) == 2


def test_exhausted_jobs_are_told_of(make_stack: Make) -> None:
    told: list[Any] = []
    stack = make_stack(FAST)
    stack.actor(
        lambda data, retry: told.append((data["actor_name"], retry)), actor_name="tell", queue_name="told"
    )
    stack.actor(failing([]), actor_name="a", queue_name="q", on_retry_exhausted="tell").send()
    stack.run("q", "told")
    assert told == [("a", {"retries": 3, "max_retries": 3})]


def test_a_broker_that_is_away_is_waited_for(make_stack: Make) -> None:
    """#545: Dramatiq swallows the error of a retry's enqueue and acks the message. Naive code loses this job."""
    calls: list[int] = []
    pauses: list[float] = []
    stack = make_stack(FAST)
    retries = stack.middleware(ExponentialRetries)
    retries.pause = pauses.append
    enqueue, refusals = stack.gate._enqueue, [ConnectionClosed("away"), ConnectionRefusedError("still away")]

    def flaky(message: Any, *, delay: int | None = None) -> Any:
        if delay is not None and refusals:
            raise refusals.pop(0)
        return enqueue(message, delay=delay)

    stack.gate._enqueue = flaky
    stack.actor(failing(calls), actor_name="a", queue_name="q", max_retries=1).send()
    stack.run("q")
    assert len(calls) == 2
    assert len(pauses) == 2
    assert stack.counts("q")["errors:retry_enqueue"] == 2
    assert stack.truth("q").imbalance == 0


@pytest.mark.parametrize(
    "error", [ValueError("cannot be delayed so long"), Overloaded("q", depth=1, limit=1, retry_after=1)]
)
def test_a_retry_that_can_never_be_enqueued_is_dead_lettered(make_stack: Make, error: Exception) -> None:
    stack = make_stack(FAST)
    enqueue = stack.gate._enqueue

    def refuse(message: Any, *, delay: int | None = None) -> Any:
        if delay is not None:
            raise error
        return enqueue(message, delay=delay)

    stack.gate._enqueue = refuse
    stack.actor(failing([]), actor_name="a", queue_name="q").send()
    stack.run("q")
    assert stack.counts("q")["dead:unretryable"] == 1
    assert stack.truth("q").dead == 1
    assert stack.truth("q").imbalance == 0


def test_a_broken_retry_when_does_not_lose_the_job(make_stack: Make) -> None:
    stack = make_stack(FAST)
    stack.actor(failing([]), actor_name="a", queue_name="q", retry_when=lambda *_: 1 / 0).send()
    stack.run("q")
    assert stack.counts("q")["dead:unretryable"] == 1


def test_a_job_that_was_refused_elsewhere_waits_for_room_there(make_stack: Make) -> None:
    stack = make_stack(FAST)
    retries = stack.middleware(ExponentialRetries)
    delays: list[int] = []
    stack.broker.enqueue = lambda message, delay=None: delays.append(delay)
    actor = stack.actor(lambda: None, actor_name="a", queue_name="q")
    full = Overloaded("other", depth=9, limit=9, retry_after=7.5)
    retries.after_process_message(stack.broker, MessageProxy(actor.message()), exception=full)
    assert delays == [7500]


def test_retries_beyond_the_budget_wait_longer(make_stack: Make) -> None:
    stack = make_stack(
        SLAQueueConfig(
            "q", admission="off", jitter="equal", min_backoff_seconds=1, max_backoff_seconds=1, retry_budget=0
        )
    )
    retries = stack.middleware(ExponentialRetries)
    delays: list[int] = []
    stack.broker.enqueue = lambda message, delay=None: delays.append(delay)
    actor = stack.actor(lambda: None, actor_name="a", queue_name="q")
    for _ in range(200):
        retries.after_process_message(stack.broker, MessageProxy(actor.message()), exception=RuntimeError())
    assert max(delays[:10]) <= 1000
    assert min(delays[-10:]) >= 5000
    assert len(delays) == 200  # longer, not dropped


def test_a_queue_that_is_not_configured_keeps_dramatiqs_schedule(make_stack: Make) -> None:
    """Never below min_backoff, as full jitter would; no budget; zero means at once."""
    stack = make_stack(middleware=[Retries(min_backoff=1000, max_backoff=8000)])
    retries = stack.middleware(ExponentialRetries)
    delays: list[int] = []
    stack.broker.enqueue = lambda message, delay=None: delays.append(delay)
    actor = stack.actor(lambda: None, actor_name="a", queue_name="plain")
    for retry in range(6):
        for _ in range(50):
            proxy = MessageProxy(actor.message_with_options(retries=retry))
            retries.after_process_message(stack.broker, proxy, exception=RuntimeError())
    for retry, base in enumerate((1000, 2000)):
        these = delays[50 * retry : 50 * retry + 50]
        assert base <= min(these)
        assert max(these) <= 2 * base
    assert min(delays) >= 1000
    assert max(delays) <= 8000
    delays.clear()
    proxy = MessageProxy(actor.message_with_options(min_backoff=0, retries=12))
    retries.after_process_message(stack.broker, proxy, exception=RuntimeError())
    assert delays == [0]


def test_an_app_without_retries_gets_none_where_it_configured_nothing(make_stack: Make) -> None:
    """Without Dramatiq's Retries a failed job is acked."""
    calls: list[int] = []
    stack = make_stack(FAST, middleware=[])
    configured: list[int] = []
    stack.actor(failing(calls), actor_name="plain", queue_name="plain").send()
    stack.actor(failing(configured), actor_name="a", queue_name="q").send()
    stack.run("plain", "q")
    assert (len(calls), len(configured)) == (1, 4)
    assert stack.truth("plain").accounts.done == 1


def test_others_may_be_placed_before_retries(make_stack: Make) -> None:
    class Mine(Middleware):
        pass

    stack = make_stack()
    stack.broker.add_middleware(Mine(), before=Retries)
    kinds = [type(m) for m in stack.broker.middleware]
    assert kinds.index(Mine) == kinds.index(ExponentialRetries) - 1


def test_an_unknown_jitter_costs_no_job(make_stack: Make) -> None:
    stack = make_stack(FAST)
    stack.actor(failing([]), actor_name="a", queue_name="q", jitter="wild").send()
    stack.run("q")
    (letter,) = stack.broker.dead_letters_by_queue["q"]
    assert stack.counts("q")["dead:unretryable"] == 1
    assert letter.args == ()


def test_an_interrupt_that_hits_the_wait_for_a_broker_costs_no_retry(make_stack: Make) -> None:
    """A time limit still armed after the attempt. It is no Exception, and would end the thread with the job acked."""
    calls: list[int] = []
    stack = make_stack(FAST)

    def interrupted(_: float) -> None:
        raise TimeLimitExceeded

    stack.middleware(ExponentialRetries).pause = interrupted
    enqueue, refusals = stack.gate._enqueue, [ConnectionClosed("away"), TimeLimitExceeded()]

    def flaky(message: Any, *, delay: int | None = None) -> Any:
        if delay is not None and refusals:
            raise refusals.pop(0)
        return enqueue(message, delay=delay)

    stack.gate._enqueue = flaky
    stack.actor(failing(calls), actor_name="a", queue_name="q", max_retries=1).send()
    stack.run("q", threads=1)
    assert len(calls) == 2
    assert stack.truth("q").imbalance == 0


def test_an_apps_own_retries_keep_the_books(make_stack: Make) -> None:
    """Its retry is the same job once more, not another one."""

    class Own(Retries):
        pass

    calls: list[int] = []
    stack = make_stack(middleware=[Own(max_retries=3, min_backoff=1, max_backoff=2)])
    stack.actor(failing(calls), actor_name="a", queue_name="q").send()
    stack.run("q")
    truth = stack.truth("q")
    assert len(calls) == 4
    assert (truth.accounts.admitted, truth.accounts.done, truth.dead, truth.imbalance) == (1, 0, 1, 0)
