"""How an HPA gets to the number that was decided: at once, and exactly.

LittleQ has forecast, smoothed and bounded already. The defaults of an HPA would do so once more: at most double in
15 s, down only after 300 s, and no change at all of 10 % or less.
"""

from __future__ import annotations

from littleq.config import SLAQueueConfig
from littleq.manifests.fleet import Fleet
from littleq.manifests.objects import Object


def behavior(fleet: Fleet, queue: SLAQueueConfig) -> Object:
    """`behavior` of an HPA, for both directions alike."""
    return {"scaleUp": _at_once(fleet, queue), "scaleDown": _at_once(fleet, queue)}


def _at_once(fleet: Fleet, queue: SLAQueueConfig) -> Object:
    # As many pods as there can be, in any second: a policy has to be named, and this one bounds nothing.
    rules: Object = {
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Max",
        "policies": [{"type": "Pods", "value": queue.max_workers, "periodSeconds": 1}],
    }
    if fleet.settings.follows_every_change:
        rules["tolerance"] = "0"
    return rules
