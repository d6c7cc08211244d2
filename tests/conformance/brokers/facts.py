"""The whole suite: a module that takes all of this in, and says `SUBJECT`, runs it."""

from tests.conformance.brokers.chaos import *  # noqa: F403
from tests.conformance.brokers.jobs import *  # noqa: F403
from tests.conformance.brokers.letters import *  # noqa: F403
from tests.conformance.brokers.queues import *  # noqa: F403

from tests.conformance.brokers.processes import *  # noqa: F403  # isort: skip  # last: what was begun ends there
