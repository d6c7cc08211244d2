"""Keeps the pods' deletion costs, beside the decisions: by whoever decides, on a thread of its own.

    tick decided ──> wake ──> ledger: running jobs by worker ──> pods ──> patches

Nothing here can hold up or spoil a decision. What fails is logged once, with what to do, and tried again after a pause;
a cost that is out of date sends the wrong pod away, and that one drains like any other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from littleq.autoscale.pods.api import PodsAPI, PodsUnavailable
from littleq.autoscale.pods.costs import Pod, changes, running_by_host
from littleq.background import Background
from littleq.clock import SYSTEM_CLOCK, Clock
from littleq.errors import LittleQError
from littleq.ledger import open_ledger

if TYPE_CHECKING:
    from littleq.config import Config
    from littleq.ledger import Ledger

logger = logging.getLogger(__name__)

#: A configuration that cannot work is looked at again after so long, in seconds: somebody may mount what is missing.
BROKEN_SECONDS = 60.0


class Pods(Protocol):
    """What is asked of the API server."""

    def pods(self) -> list[Pod]: ...

    def set_cost(self, pod: Pod, cost: int) -> None: ...


class DeletionCosts:
    """See the module. Call `decided` after each decision of this process.

    Args:
        ledger, api: how to get there; called on the thread, at the first need.
    """

    def __init__(
        self, ledger: Callable[[], Ledger], api: Callable[[], Pods], clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._connect, self._make_api, self._clock = ledger, api, clock
        self._ledger: Ledger | None = None
        self._api: Pods | None = None
        self._desired: Mapping[str, int] | None = None
        self._not_before = float("-inf")
        self._failing = ""
        self._background = Background("littleq-pod-costs", 3600.0, self.keep)

    def decided(self, desired: Mapping[str, int]) -> None:
        """This process has decided how many workers each queue shall have. Waits for nothing."""
        self._desired = desired
        self._background.wake()

    def close(self) -> None:
        """Another one decides."""
        self._desired = None
        self._background.stop()

    def keep(self) -> int:
        """Bring the annotations up to date, once a decision; how many were changed. Never raises."""
        desired, self._desired = self._desired, None
        if desired is None or self._clock.monotonic() < self._not_before:
            return 0
        try:
            changed = self._keep(desired)
        except PodsUnavailable as error:
            self._failed(str(error), error.pause_seconds)
        except LittleQError as error:  # no account, no extra, the ledger is away
            self._failed(str(error).rstrip("."), BROKEN_SECONDS)
        else:
            if self._failing:
                logger.warning("Pod deletion costs are kept again.")
            self._failing = ""
            return changed
        return 0

    def _keep(self, desired: Mapping[str, int]) -> int:
        if self._api is None:
            self._api = self._make_api()
        if self._ledger is None:
            self._ledger = self._connect()
        pods = self._api.pods()
        running = running_by_host(self._ledger.busy())
        count: dict[str, int] = {}
        for pod in pods:
            count[pod.queue] = count.get(pod.queue, 0) + 1
        shrinking = {queue for queue, wanted in desired.items() if wanted < count.get(queue, 0)}
        wrong = changes(pods, running, shrinking)
        for pod, cost in wrong:
            self._api.set_cost(pod, cost)
        return len(wrong)

    def _failed(self, reason: str, pause: float) -> None:
        self._not_before = self._clock.monotonic() + pause
        if reason != self._failing:
            logger.warning("Pod deletion costs are not kept, scaling goes on without: %s.", reason)
        self._failing = reason


def deletion_costs_for(config: Config) -> DeletionCosts | None:
    """What keeps the costs of the configured fleet; None: that is not wanted."""
    if not config.pod_deletion_cost:
        return None
    return DeletionCosts(lambda: open_ledger(config), lambda: PodsAPI(config.pod_namespace))
