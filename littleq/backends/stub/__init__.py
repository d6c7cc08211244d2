"""Dramatiq's StubBroker: a broker in this process's memory, for tests.

Everything is read from the broker's own queues, so every number is exact; a due delayed job is briefly in
both of its queues, as Dramatiq enqueues it before it acks the delayed one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from littleq.backends.base import Backend
from littleq.backends.stub.accounts import StubAccounts
from littleq.backends.stub.capabilities import CAPABILITIES
from littleq.backends.stub.dead_letters import StubDeadLetters
from littleq.backends.stub.inspector import StubInspector

if TYPE_CHECKING:
    from dramatiq.brokers.stub import StubBroker

    from littleq.config import Config


def build_stub_broker(_config: Config) -> StubBroker:
    """A StubBroker; there is nothing that a configuration could say about one."""
    from dramatiq.brokers.stub import StubBroker

    return StubBroker()


def stub_backend(broker: StubBroker) -> Backend:
    """The backend of a StubBroker; its accounts are kept on the broker itself."""
    accounts = StubAccounts.of(broker)
    return Backend(
        name="stub",
        inspector=StubInspector(broker, accounts),
        dead_letters=StubDeadLetters(broker, accounts),
        exact_depth=True,
        is_transient=lambda _error: False,
        extend=lambda _config: accounts.keep(broker),
        capabilities=CAPABILITIES,
    )
