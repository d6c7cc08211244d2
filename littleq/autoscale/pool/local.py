"""An autoscaled system on one machine: the controller, what it looks at, and the processes that follow it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from littleq.autoscale.actor import Decider, config_of, make_controller
from littleq.autoscale.pool.groups import fork_groups, worker_groups
from littleq.autoscale.pool.processes import Launcher
from littleq.autoscale.pool.sight import Desired, Lookout
from littleq.autoscale.pool.supervisor import Supervisor
from littleq.backends import backend_for
from littleq.background import Background
from littleq.ledger import open_ledger
from littleq.ledger.decisions import read_decisions, stale_after

if TYPE_CHECKING:
    from dramatiq import Broker

    from littleq.ledger.decisions import Published

#: A worker that a waiting job has woken stays for two intervals and so many seconds: until a decision has surely seen
#: that job.
WAKE_SECONDS = 5.0


class LocalPool:
    """Worker processes for the queues of an app, as many as are decided.

    A script that uses it needs the `if __name__ == "__main__"` that multiprocessing asks for (see `Launcher`).

    Args:
        broker: of the app, whose actors are declared.
        modules: what the worker processes import.
        queues: to serve.
        grace: seconds that the running jobs of a worker may take that is to stop.
        fixed: so many workers of these queues, whatever is decided.
        decides: run the controller here; else obey the decisions that are made elsewhere.
        exporter: start the metrics endpoint, if the app is configured to have one.
        output: as for `Launcher`.

    Attributes:
        supervisor: step it, or have it run, between `start` and `stop`.
    """

    def __init__(
        self,
        broker: Broker,
        modules: Sequence[str],
        queues: Sequence[str],
        *,
        grace: float = 30.0,
        fixed: Mapping[str, int] | None = None,
        decides: bool = True,
        exporter: bool = True,
        output: Callable[[str], object] | None = None,
    ) -> None:
        config = config_of(broker)
        self._queues, self._ledger = queues, open_ledger(config)
        self.supervisor = Supervisor(
            [
                *worker_groups(queues, config, modules, grace, fixed or {}),
                *fork_groups(broker, exporter_wanted=exporter),
            ],
            Launcher(output=output),
            stale_seconds=stale_after(config.decide_seconds),
            wake_seconds=2 * config.decide_seconds + WAKE_SECONDS,
        )
        self._lookout = Lookout(
            self._decisions,
            backend_for(broker).inspector,
            self.supervisor.empty,
            lambda: self.supervisor.start_seconds,
        )
        self.supervisor.sight = self._lookout
        self._decider = Decider(lambda: make_controller(config))
        self._deciding = Background("littleq-controller", config.decide_seconds, self._decider.decide)
        self._decides = decides

    def start(self) -> None:
        """Begin to decide and to look."""
        self._lookout.start()
        if self._decides:
            self._deciding.wake()

    def stop(self) -> None:
        """Decide nothing and look at nothing any more; the processes are the supervisor's to stop."""
        self._deciding.stop()
        self._decider.close()
        self._lookout.stop()

    def _decisions(self) -> Mapping[str, Desired]:
        found = read_decisions(self._ledger, self._queues)
        return {queue: _desired(published) for queue, published in found.items()}


def _desired(found: Published) -> Desired:
    return Desired(found.desired_workers, found.age_seconds, found.reason)
