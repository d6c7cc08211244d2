"""Dead letters are kept until they are purged, or for as long as their queue says; worker processes see to that."""

from __future__ import annotations

from typing import Any

from littleq.config import SLAQueueConfig

DAY_MS = 86_400_000


def test_a_worker_process_deletes_what_is_not_to_be_kept_any_longer(our_app: Any) -> None:
    kept = SLAQueueConfig("kept", admission="off", max_retries=0)
    forgotten = SLAQueueConfig("forgotten", admission="off", max_retries=0, dead_retention_seconds=3600)
    app = our_app(kept, forgotten)

    def fail() -> None:
        raise RuntimeError

    for queue in ("kept", "forgotten"):
        actor = app.actor(fail, actor_name=f"fail-in-{queue}", queue_name=queue)
        for _ in range(2):
            actor.send()
    worker = app.work()
    app.until(lambda: app.truth("kept").dead + app.truth("forgotten").dead == 4)
    worker.stop()
    for queue in ("kept", "forgotten"):  # one of each died yesterday
        old = app.client.zrange(f"dramatiq:{queue}.XQ", 0, 0)[0]
        app.client.zincrby(f"dramatiq:{queue}.XQ", -DAY_MS, old)
    app.broker.watch._expired_at = float("-inf")
    app.until(lambda: app.truth("forgotten").dead == 1)
    truth = app.truth("forgotten")
    assert (truth.accounts.purged, truth.imbalance) == (1, 0)
    assert app.truth("kept").dead == 2
