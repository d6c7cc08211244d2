"""Failures and kills at random: what was sent is done or dead, exactly. `make chaos BROKER=… ` runs 100,000 jobs."""

from __future__ import annotations

import os

from tests.chaos.brokers import Chaos
from tests.conformance.brokers.stage import Stage

#: One kill for so many jobs, and two at least, unless KILLS says how many.
JOBS_PER_KILL = 4000


def test_what_was_sent_is_done_or_dead(stage: Stage, valkey_url: str) -> None:
    jobs = int(os.environ.get("JOBS", stage.subject.chaos_jobs))
    kills = int(os.environ.get("KILLS", max(2, jobs // JOBS_PER_KILL)))
    story = Chaos(stage, valkey_url, jobs, kills).run()
    print(f"{stage.subject.name}: {story}")
    assert story.twice <= story.kills * stage.subject.window
