"""`littleq producer`: the plan, the open loop, what is sent, and bad input."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker

from littleq.cli.jobs import takes_number
from littleq.cli.producer import Plan, make_plan, run
from littleq.cli.tally import Tally
from littleq.middleware import Overloaded
from littleq.testing import ManualClock

Littleq = Callable[..., Any]

TRACE = "# bin_seconds: 60\n# speedup: 6\nbin,arrivals\n0,3\n1,0\n2,2\n"


def plan(**changes: Any) -> Plan:
    values: dict[str, Any] = dict.fromkeys(("count", "interval", "rate", "burst", "trace_file", "speed_up"))
    return make_plan(**(values | {"poisson": False, "seed": 1} | changes))


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text(TRACE)
    return path


class FakeActor:
    """Takes `cost` seconds a send, and does what it is told with each."""

    queue_name = "mail"

    def __init__(self, clock: ManualClock, cost: float = 0.0, outcomes: Iterator[Any] | None = None) -> None:
        self.clock, self.cost, self.outcomes, self.at = clock, cost, outcomes, list[float]()

    def send(self, *args: Any, **kwargs: Any) -> dramatiq.Message[Any]:
        self.at.append(self.clock.monotonic())
        self.clock.advance(self.cost)
        outcome = next(self.outcomes, None) if self.outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        return dramatiq.Message(queue_name="mail", actor_name="send", args=args, kwargs=kwargs, options={})


def play(
    arrivals: list[float], cost: float = 0.0, outcomes: Iterator[Any] | None = None
) -> tuple[FakeActor, Tally]:
    clock = ManualClock()
    actor, tally = FakeActor(clock, cost, outcomes), Tally("mail")
    jobs: Iterator[Any] = iter([(actor, (), {})] * len(arrivals))
    run(
        Plan(iter(arrivals), len(arrivals), None), jobs, tally, monotonic=clock.monotonic, sleep=clock.advance
    )
    return actor, tally


def test_sends_happen_when_they_are_due() -> None:
    actor, tally = play([0.0, 0.5, 2.0])
    assert actor.at == [0.0, 0.5, 2.0]
    assert tally.lag_max == 0.0
    assert tally.elapsed == 2.0


def test_a_slow_send_delays_the_next_but_does_not_drop_or_shift_the_schedule() -> None:
    """Each send takes 1 s; those due meanwhile are sent at once, the one after the pause is on time again."""
    actor, tally = play([0.0, 0.5, 1.0, 10.0], cost=1.0)
    assert actor.at == [0.0, 1.0, 2.0, 10.0]
    assert tally.lag_max == 1.0
    assert tally.lag_sum == 1.5


def test_no_error_ends_the_run() -> None:
    refusal = Overloaded("mail", depth=20, limit=20, retry_after=0.4)
    errors = iter([ConnectionError("gone: redis://me:hunter2@db"), refusal, None, ValueError("a\nb")])
    _, tally = play([0.0, 1.0, 2.0, 3.0], outcomes=errors)
    assert tally.outcomes == {"failed": 2, "shed": 1, "admitted": 1}
    assert tally.failures == {"ConnectionError": 1, "ValueError": 1}
    assert tally.retry_after == (0.4, 0.4)
    assert "hunter2" not in str(tally.first_words)
    assert tally.first_words["ValueError"] == "a b"


def test_by_default_a_hundred_sends_go_out_every_50_ms() -> None:
    made = plan()
    assert (made.total, made.rate) == (100, 20.0)
    assert list(made.arrivals)[:3] == pytest.approx([0.0, 0.05, 0.1])


def test_an_interval_is_the_inverse_of_a_rate() -> None:
    assert list(plan(interval=0.25, count=9).arrivals) == list(plan(rate=4.0, count=9).arrivals)


def test_interval_and_burst_together_keep_the_mean_rate() -> None:
    """The README's line: 100 sends at 50 ms on average, ten at a time."""
    arrivals = list(plan(count=100, interval=0.05, burst=0).arrivals)
    assert arrivals == pytest.approx([0.5 * (number // 10) for number in range(100)])
    assert list(plan(count=4, rate=2.0, burst=2).arrivals) == [0.0, 0.0, 1.0, 1.0]


def test_a_burst_without_a_rate_comes_at_once() -> None:
    made = plan(count=7, burst=0)
    assert list(made.arrivals) == [0.0] * 7
    assert made.rate is None


def test_a_seed_repeats_the_run() -> None:
    first, second, other = (list(plan(rate=5.0, poisson=True, seed=seed).arrivals) for seed in (1, 1, 2))
    assert first == second != other


def test_a_trace_is_played_with_its_speed_up_or_another(trace: Path) -> None:
    made = plan(trace_file=trace)
    assert (made.total, made.rate) == (5, 5 / 30)
    assert max(made.arrivals) < 30
    assert max(plan(trace_file=trace, speed_up=60.0).arrivals) < 3
    assert len(list(plan(trace_file=trace, count=2).arrivals)) == 2
    assert plan(trace_file=trace, count=99).total == 5


@pytest.mark.parametrize(
    "changes",
    [{"interval": 1.0}, {"rate": 1.0}, {"poisson": True}, {"burst": 0}],
    ids=lambda c: next(iter(c)),
)
def test_a_trace_has_its_own_rate(trace: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(click.UsageError, match="--trace has its own rate"):
        plan(trace_file=trace, **changes)


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(click.UsageError, match="--interval and --rate"):
        plan(interval=1.0, rate=1.0)
    with pytest.raises(click.UsageError, match="--speed-up is for a trace"):
        plan(speed_up=2.0)


def _free(number): ...  # type: ignore[no-untyped-def]
def _default(name="x"): ...  # type: ignore[no-untyped-def]
def _integer(number: int = 0) -> None: ...
def _union(number: int | None = None) -> None: ...
def _text(name: str) -> None: ...
def _nothing() -> None: ...
def _many(*numbers: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "takes"),
    [
        (_free, True),
        (_default, False),
        (_integer, True),
        (_union, True),
        (_text, False),
        (_nothing, False),
        (_many, False),
    ],
)
def test_an_actor_gets_a_number_if_its_first_parameter_takes_one(
    function: Callable[..., Any], takes: bool
) -> None:
    assert takes_number(function) is takes


APP = """
import dramatiq
from dramatiq.brokers.stub import StubBroker
broker = StubBroker()
dramatiq.set_broker(broker)

@dramatiq.actor(queue_name="mail")
def send(number: int) -> None: ...

@dramatiq.actor(queue_name="mail")
def archive() -> None: ...

@dramatiq.actor(queue_name="report")
def report(name: str, pages: int = 1) -> None: ...
"""


@pytest.fixture
def sent(app: Callable[[str], str]) -> Callable[[], list[dramatiq.Message[Any]]]:
    """An app with two queues; what was sent to it."""
    app(APP)

    def read() -> list[dramatiq.Message[Any]]:
        if "app_under_test" not in sys.modules:
            return []  # refused before the app was looked at
        broker = dramatiq.get_broker()
        assert isinstance(broker, StubBroker)
        queues = [broker.queues[name] for name in ("mail", "report")]
        return [dramatiq.Message.decode(queue.get_nowait()) for queue in queues for _ in range(queue.qsize())]

    return read


def test_actors_of_a_queue_take_turns(littleq: Littleq, sent: Callable[[], Any]) -> None:
    answer = littleq(
        "producer", "--module", "app_under_test", "-q", "mail", "--count", "4", "--burst", "--json"
    )
    assert answer.code == 0
    summary = json.loads(answer.out)
    assert (summary["queue"], summary["sent"], summary["admitted"]) == ("mail", 4, 4)
    assert [(m.actor_name, m.args) for m in sent()] == [
        ("archive", ()),
        ("send", (1,)),
        ("archive", ()),
        ("send", (3,)),
    ]


@pytest.mark.parametrize(
    ("text", "args", "kwargs"), [('["a", 2]', ("a", 2), {}), ('{"name": "b"}', (), {"name": "b"})]
)
def test_arguments_are_given_as_json(
    littleq: Littleq, sent: Callable[[], Any], text: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    answer = littleq(
        "producer", "--module", "app_under_test", "--actor", "report", "--args", text, "--count", "1"
    )
    assert "1 sent" in answer.out
    assert [(m.args, m.kwargs) for m in sent()] == [(args, kwargs)]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "Say where to send: --queue, one of mail, report."),
        (("-q", "mial"), "No queue is called 'mial'; known queues: mail, report."),
        (("--actor", "sned"), "No actor is called 'sned'; the module declares archive, report, send."),
        (("--actor", "send", "-q", "report"), "The actor 'send' stands in queue 'mail', not 'report'."),
        (
            ("-q", "report"),
            "The actor 'report' cannot be called that way (missing a required argument: 'name')",
        ),
        (("-q", "report", "--args", "{x"), "--args is not JSON"),
        (("-q", "report", "--args", "3"), "--args is 3: give a list"),
        (("-q", "report", "--args", '{"nome": 1}'), "cannot be called that way"),
        (("-q", "mail", "--interval", "fast"), "'fast' is not a duration"),
        (("-q", "mail", "--rate", "0"), "'0' is not a rate"),
        (("-q", "mail", "--count", "0"), "'0' is not a whole number from 1 up"),
        (("-q", "mail", "--burst", "many"), "'many' is not a whole number from 0 up"),
        (("-q", "mail", "--trace", "nowhere.csv"), "The trace nowhere.csv cannot be read"),
        (("-q", "mail", "--redis", "db:x"), "'db:x' is no address"),
    ],
)
def test_bad_input_is_one_sentence_and_sends_nothing(
    littleq: Littleq, sent: Callable[[], Any], args: tuple[str, ...], says: str
) -> None:
    answer = littleq("producer", "--module", "app_under_test", *args)
    assert (answer.code, answer.out) == (2, "")
    assert says in answer.err
    assert answer.err.count("\n") == 1
    assert sent() == []


def test_ctrl_c_ends_with_a_summary(
    littleq: Littleq, sent: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("littleq.cli.producer.run", interrupt)
    answer = littleq("producer", "--module", "app_under_test", "-q", "mail")
    assert answer.code == 130
    assert "0 sent" in answer.out


def test_failed_sends_are_exit_code_1(
    littleq: Littleq, sent: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def enqueue(*_: Any, **__: Any) -> None:
        raise ConnectionError("nobody listens")

    monkeypatch.setattr(StubBroker, "enqueue", enqueue)
    answer = littleq("producer", "--module", "app_under_test", "-q", "mail", "--count", "3", "--burst")
    assert answer.code == 1
    assert "3 × ConnectionError: nobody listens" in answer.out


def test_random_is_injected() -> None:
    """A plan leaves the global random source alone."""
    random.seed(5)
    expected = random.Random(5).random()
    list(plan(rate=5.0, poisson=True).arrivals)
    assert random.random() == expected
