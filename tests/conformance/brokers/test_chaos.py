"""Failures and kills at random: what was sent is done or dead, exactly. `make chaos BROKER=… ` runs 100,000 jobs."""

from __future__ import annotations

import os

from tests.chaos.brokers import Chaos
from tests.conformance.brokers.stage import Stage

JOBS = int(os.environ.get("JOBS", "1500"))
#: One for some thousand jobs.
KILLS = 2 if JOBS < 10_000 else JOBS // 4000


def test_what_was_sent_is_done_or_dead(stage: Stage, valkey_url: str) -> None:
    story = Chaos(stage, valkey_url, JOBS, KILLS).run()
    print(f"{stage.subject.name}: {story}")
    assert story.twice <= story.kills * stage.subject.window
