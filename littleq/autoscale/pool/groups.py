"""From an app and its configuration to what a supervisor keeps running."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from littleq.autoscale.pool.child import Work
from littleq.autoscale.pool.processes import Part
from littleq.autoscale.pool.supervisor import Group
from littleq.backends import backend_for
from littleq.ledger import unshared_problem
from littleq.redaction import redact_url
from littleq.server import exporter

if TYPE_CHECKING:
    from dramatiq import Broker

    from littleq.config import Config

#: Threads of the worker of the control queue: one decides, one is there for whatever else the app puts on that queue.
CONTROL_THREADS = 2


def server_problem(broker: Broker, config: Config) -> str | None:
    """Why no other process could decide for this app, or work for it, in one sentence; None: nothing is wrong."""
    if config.url.startswith("stub:"):
        return (
            "A queue at stub:// lives in one process, and others shall work for it: name a server with --url."
        )
    if problem := unshared_problem(config, "a controller"):
        return problem
    backend = backend_for(broker)
    if backend.ping is not None and not backend.serves(config.url):
        return (
            f"The app's broker is at another server than its configuration says ({redact_url(config.url)}), where "
            "the controller would look: set LITTLEQ_URL, or url in littleq.toml, to the broker's."
        )
    return None


def scaled_queues(broker: Broker, config: Config) -> list[str]:
    """The queues of the app's actors, without the control queue: scale to zero must not stop the scaler."""
    queues = {actor.queue_name for actor in broker.actors.values()}
    return sorted(queues - {config.control_queue})


def worker_groups(
    queues: Collection[str],
    config: Config,
    modules: Sequence[str],
    grace: float,
    fixed: Mapping[str, int],
) -> list[Group]:
    """A group a queue, which follows decisions unless its number is fixed.

    Args:
        grace: seconds that the jobs of a worker may take that is to stop.
    """
    groups = []
    for name in queues:
        queue = config.queue(name)
        program = Work(modules, name, queue.threads_per_worker, grace)
        if name in fixed:
            groups.append(Group(name, program, fixed[name], fixed[name]))
        else:
            groups.append(Group(name, program, queue.min_workers, queue.max_workers, scales=True))
    return groups


def fork_groups(broker: Broker, *, exporter_wanted: bool = True) -> list[Group]:
    """What the app wants forked, each once: `dramatiq` does so once for all its workers too."""
    paths = [
        f"{fork.__module__}:{fork.__name__}" for middleware in broker.middleware for fork in middleware.forks
    ]
    own = f"{exporter.__name__}:{exporter.run_as_fork.__name__}"
    if not exporter_wanted:
        paths = [path for path in paths if path != own]
    return [
        Group("exporter" if path == own else path, Part(path), ends=True) for path in dict.fromkeys(paths)
    ]


def control_groups(config: Config, modules: Sequence[str], grace: float) -> list[Group]:
    """The scheduler of the periodic actors, and the worker of the control queue."""
    queue = config.control_queue
    return [
        Group("scheduler", Part("littleq.autoscale.pool.part:schedule", modules)),
        Group(queue, Work(modules, queue, CONTROL_THREADS, grace)),
    ]
