"""The app as a whole: what `dramatiq actors` offers, and that a worker runs it to the expected ends."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import ModuleType

import pytest
from dramatiq import Worker

from littleq.config import Config
from littleq.config.contradictions import doubts
from littleq.config.sources import load_config

ACTORS = {
    "call_partner": "realtime",
    "checksum": "batch",
    "compress": "batch",
    "import_row": "batch",
    "thumbnail": "realtime",
}


@pytest.fixture
def config() -> Config:
    """The app's own settings, whatever the environment of this test run says."""
    return load_config(path=Path(__file__).parents[3] / "littleq.toml", environ={})


def test_the_app_offers_its_actors_on_its_two_queues(app: ModuleType) -> None:
    assert {name: app.broker.get_actor(name).queue_name for name in ACTORS} == ACTORS
    assert set(ACTORS) | {"broker"} == set(app.__all__)


@pytest.mark.parametrize("name", ACTORS)
def test_an_actor_needs_no_argument_and_takes_a_number_first(app: ModuleType, name: str) -> None:
    """A load generator knows nothing else about an actor."""
    first, *others = inspect.signature(app.broker.get_actor(name).fn).parameters.values()
    assert first.annotation == "int"
    assert all(parameter.default is not parameter.empty for parameter in (first, *others))


def test_each_queue_has_a_service_level_that_makes_sense(config: Config) -> None:
    assert {name: queue.admission_mode for name, queue in config.queues.items()} == {
        "realtime": "contract",
        "batch": "capacity",
    }
    assert list(doubts(config)) == []


def test_the_retry_budget_covers_an_ordinary_day_of_the_partner(app: ModuleType, config: Config) -> None:
    retries_per_call = 1 / (1 - app.flaky.OUTAGE_SHARE) - 1
    assert retries_per_call <= config.queue("realtime").retry_budget


def test_a_retry_cures_an_outage_and_a_bad_row_becomes_a_dead_letter(app: ModuleType) -> None:
    """Through a worker, with the settings of `littleq.toml`; the others run once and are done."""
    is_down, is_bad = app.flaky.is_partner_down, app.flaky.is_bad_row
    cured = next(job for job in map(str, range(1_000)) if is_down(job, 0) and not is_down(job, 1))
    bad = next(number for number in range(1_000) if is_bad(number))
    jobs = [app.call_partner.message(1).copy(message_id=cured), app.import_row.message(bad)]
    jobs += [actor.message() for actor in (app.thumbnail, app.checksum, app.compress)]
    for job in jobs:
        app.broker.enqueue(job)

    worker = Worker(app.broker, worker_timeout=100)
    worker.start()
    try:
        for queue in ("realtime", "batch"):
            app.broker.join(queue, fail_fast=False, timeout=10_000)
        worker.join()
    finally:
        worker.stop()
    assert [(letter.actor_name, letter.args) for letter in app.broker.dead_letters] == [
        ("import_row", (bad,))
    ]
