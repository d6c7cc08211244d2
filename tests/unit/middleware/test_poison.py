"""A job that kills its workers is stopped, and its neighbours are not charged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dramatiq import Middleware
from dramatiq.middleware import SkipMessage

from littleq import job
from littleq.backends import backend_for
from littleq.config import Config, SLAQueueConfig
from littleq.ledger.base import LedgerUnavailable
from littleq.ledger.memory import MemoryLedger
from littleq.ledger.recorder import Recorder
from littleq.middleware import Poison
from littleq.testing import ManualClock

Make = Callable[..., Any]


class HandedOutBefore(Middleware):
    """What a consumer notes of a job that its broker had handed out before."""

    def before_process_message(self, broker: Any, message: Any) -> None:
        word = message.args[0]
        job.note(message, redelivered="perhaps" if word == "perhaps" else word != "first")


class Fleet:
    """The stack on a StubBroker, with `Poison` in it as on a broker that does not count deaths."""

    def __init__(self, make_stack: Make, max_deliveries: int = 3) -> None:
        queue = SLAQueueConfig("q", admission="off", max_deliveries=max_deliveries)
        self.stack = make_stack(queue)
        broker = self.stack.broker
        config = Config(queues={"q": queue})
        self.recorder = Recorder(self.stack.ledger, clock=self.stack.clock)
        self.poison = Poison(config=config, ledger=self.stack.ledger, recorder=self.recorder)
        broker.add_middleware(self.poison, after=type(broker.middleware[-1]))
        broker.add_middleware(HandedOutBefore(), before=Poison)
        self.ran: list[Any] = []
        self.work = self.stack.actor(self.ran.append, actor_name="work", queue_name="q")

    def deaths(self, message_id: str, times: int) -> None:
        """So many workers died while they ran it."""
        for _ in range(times):
            self.stack.ledger.attempt("q", message_id)

    def run(self) -> None:
        self.stack.run("q")

    @property
    def letters(self) -> list[Any]:
        return list(backend_for(self.stack.broker).dead_letters.letters("q"))


@pytest.fixture
def fleet(make_stack: Make) -> Fleet:
    return Fleet(make_stack)


def test_the_job_that_killed_its_workers_is_a_dead_letter_and_does_not_run(fleet: Fleet) -> None:
    sent = fleet.work.send("again")
    fleet.deaths(sent.message_id, 2)
    fleet.run()
    (letter,) = fleet.letters
    assert fleet.ran == []
    assert (letter.death["reason"], letter.death["attempts"]) == ("poison", 3)
    assert fleet.stack.counts("q")["dead:poison"] == 1


def test_one_death_less_and_it_runs_and_is_forgotten(fleet: Fleet) -> None:
    sent = fleet.work.send("again")
    fleet.deaths(sent.message_id, 1)
    fleet.run()
    assert fleet.ran == ["again"]
    assert fleet.letters == []
    assert fleet.stack.ledger.attempt("q", sent.message_id) == 1, "it had ended: the count begins anew"


def test_one_that_was_perhaps_handed_out_before_is_given_its_first_start(fleet: Fleet) -> None:
    """Its broker does not say: then each start is on record, the first one too."""
    spared, stopped = fleet.work.send("perhaps"), fleet.work.send("perhaps")
    fleet.deaths(spared.message_id, 2)
    fleet.deaths(stopped.message_id, 3)
    fleet.run()
    assert fleet.ran == ["perhaps"]
    assert [letter.message_id for letter in fleet.letters] == [stopped.message_id]


def test_a_replayed_one_starts_with_a_clean_record(fleet: Fleet) -> None:
    sent = fleet.work.send("again")
    fleet.deaths(sent.message_id, 2)
    fleet.run()
    (letter,) = fleet.letters
    assert backend_for(fleet.stack.broker).dead_letters.replay("q", letter.letter_id)
    fleet.run()
    assert fleet.ran == ["again"]


def test_a_first_delivery_asks_nobody(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet.stack.ledger, "attempt", _away)
    fleet.work.send("first")
    fleet.run()
    assert fleet.ran == ["first"]
    assert fleet.recorder.unflushed == 0, "nothing failed"


def test_it_fails_open(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet.stack.ledger, "attempt", _away)
    fleet.work.send("again")
    fleet.run()
    assert fleet.ran == ["again"]
    fleet.recorder.flush()
    assert fleet.stack.counts("q")["errors:poison"] == 1


def test_a_neighbour_that_was_only_fetched_survives_the_strictest_bound(make_stack: Make) -> None:
    """It came back once because its worker died, and has not run yet."""
    fleet = Fleet(make_stack, max_deliveries=1)
    fleet.work.send("again")
    fleet.run()
    assert fleet.ran == ["again"]


def test_a_process_that_is_cut_short_charges_nobody() -> None:
    ledger = MemoryLedger(clock=ManualClock())
    recorder = Recorder(ledger, clock=ManualClock())
    poison = Poison(config=Config(), ledger=ledger, recorder=recorder)
    held = _proxy("held")
    poison.before_process_message(None, held)  # type: ignore[arg-type]
    poison.acquit()
    assert ledger.attempt("default", held.message_id) == 1
    for _ in range(3):
        poison.before_process_message(None, held)  # type: ignore[arg-type]
    with pytest.raises(SkipMessage):
        poison.before_process_message(None, held)  # type: ignore[arg-type]


def _proxy(name: str) -> Any:
    from dramatiq import Message
    from dramatiq.broker import MessageProxy

    message = MessageProxy(Message("default", name, (), {}, {}))
    job.note(message, redelivered=True)
    return message


def _away(*_: Any) -> int:
    raise LedgerUnavailable("the ledger is away")
