"""The ledger under test: in memory, and on a real Valkey server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from littleq.ledger.base import Ledger
from tests.conformance.ledgers import InMemory, OnServer, Subject


@pytest.fixture(params=["memory", "redis"])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    if request.param == "memory":
        yield InMemory()
    else:
        yield OnServer(request.getfixturevalue("redis_client"), request.getfixturevalue("valkey_url"))


@pytest.fixture
def ledger(subject: Subject) -> Ledger:
    return subject.ledger
