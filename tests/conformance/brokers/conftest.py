"""The broker under test, each in turn: a stage with an app that works, and what tests take from it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from littleq.backends.capabilities import Capabilities
from tests.brokers.kafka import kafka_server as kafka_server
from tests.brokers.kafka import kafka_url as kafka_url
from tests.brokers.rabbitmq import rabbit as rabbit
from tests.brokers.sqs import moto_server as moto_server
from tests.conformance.brokers.live import Live
from tests.conformance.brokers.stage import Stage
from tests.conformance.brokers.subjects import SUBJECTS

#: All of them, or the one that `make chaos BROKER=…` names.
NAMES = [os.environ["BROKER"]] if os.environ.get("BROKER") else list(SUBJECTS)


@pytest.fixture(scope="session", params=NAMES)
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    name = request.param
    subject = SUBJECTS[name].at_hand(name, request)
    ledger_url = request.getfixturevalue("valkey_url") if subject.shared else None
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in subject.environment.items():
            patch.setenv(variable, value)
        made = Stage(subject, tmp_path_factory.mktemp(name), ledger_url)
        yield made
        made.close()


@pytest.fixture(scope="session")
def live(stage: Stage) -> Live:
    """What works from the first test to the last."""
    return Live(stage)


@pytest.fixture
def can(live: Live) -> Capabilities:
    """What this broker says of itself."""
    return live.app.can
