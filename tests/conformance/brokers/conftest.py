"""The broker under test: a stage with an app that works, and what tests take from it.

A file a broker, so that two run at a time (`--dist loadfile`), each on a stage that is set once.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite(
    *(f"tests.conformance.brokers.{name}" for name in ("chaos", "jobs", "letters", "queues", "processes"))
)

from littleq.backends.capabilities import Capabilities  # noqa: E402
from tests.brokers.kafka import kafka_server, kafka_url  # noqa: E402, F401
from tests.brokers.rabbitmq import rabbit  # noqa: E402, F401
from tests.brokers.sqs import moto_server  # noqa: E402, F401
from tests.conformance.brokers.live import Live  # noqa: E402
from tests.conformance.brokers.stage import Stage  # noqa: E402
from tests.conformance.brokers.subjects import SUBJECTS  # noqa: E402


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    name = request.module.SUBJECT
    subject = SUBJECTS[name].at_hand(name, request)
    ledger_url = request.getfixturevalue("valkey_url") if subject.shared else None
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in subject.environment.items():
            patch.setenv(variable, value)
        made = Stage(subject, tmp_path_factory.mktemp(name), ledger_url)
        yield made
        made.close()


@pytest.fixture(scope="module")
def live(stage: Stage) -> Live:
    """What works from the first test to the last."""
    return Live(stage)


@pytest.fixture
def can(live: Live) -> Capabilities:
    """What this broker says of itself."""
    return live.app.can
