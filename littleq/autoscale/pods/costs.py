"""What a pod's end would cost, and which pods are worth a request: pure.

A cost is the running jobs, rounded down to a power of two, and is not touched for one step up or down: a worker with
eight threads has six jobs now and five then, and its rank is the same. What matters is who is idle. While pods are
about to go, each number counts, and more requests are made.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

#: Requests in one round: the API server serves others as well. Somewhat arbitrary: four a second at most, or ten.
MOST_PATCHES, MOST_WHEN_SHRINKING = 20, 50
#: What a host name may have of a pod's name.
HOST_NAME_LENGTH = 63


@dataclass(frozen=True, slots=True)
class Pod:
    """A worker pod.

    Attributes:
        host: its host name, by which its workers are known.
        queue: that it serves.
        cost: its annotation, 0 where it has none; None: one that is no number.
    """

    name: str
    host: str
    queue: str
    cost: int | None = 0


def host_of(pod_name: str) -> str:
    """The host name that Kubernetes gives a pod.

    >>> host_of("littleq-worker-q-7d9c-x2x4z"), len(host_of("a" * 62 + "-b"))
    ('littleq-worker-q-7d9c-x2x4z', 62)
    """
    return pod_name[:HOST_NAME_LENGTH].rstrip("-.")


def running_by_host(busy: Mapping[str, int]) -> dict[str, int]:
    """Running jobs by host, from those by writer (`<host>:<pid>:<word>`).

    >>> running_by_host({"a:1:x": 2, "a:7:y": 1, "b:1:z": 3})
    {'a': 3, 'b': 3}
    """
    found: dict[str, int] = {}
    for writer, running in busy.items():
        host = writer.split(":", 1)[0]
        found[host] = found.get(host, 0) + running
    return found


def rung(running: int) -> int:
    """A number of running jobs, rounded down to a power of two.

    >>> [rung(n) for n in (0, 1, 3, 4, 9)]
    [0, 1, 2, 4, 8]
    """
    return 1 << running.bit_length() - 1 if running > 0 else 0


def changes(
    pods: Sequence[Pod], running: Mapping[str, int], shrinking: Collection[str] = ()
) -> list[tuple[Pod, int]]:
    """The pods whose annotation is to change, and to what; the most wrong first.

    Args:
        running: jobs by host; none: the host runs none.
        shrinking: queues that shall have fewer pods than they have.
    """
    found = []
    for pod in pods:
        jobs = running.get(pod.host, 0)
        is_urgent = pod.queue in shrinking
        wanted = jobs if is_urgent else rung(jobs)
        if _is_worth_it(pod.cost, wanted, is_urgent=is_urgent):
            found.append((pod, wanted))
    found.sort(key=lambda change: _order(change[0], change[1], shrinking))
    return found[: MOST_WHEN_SHRINKING if shrinking else MOST_PATCHES]


def _is_worth_it(cost: int | None, wanted: int, *, is_urgent: bool) -> bool:
    if cost is None or (cost == 0) != (wanted == 0):
        return True
    return cost != wanted if is_urgent else not cost / 2 <= wanted <= 2 * cost


def _order(pod: Pod, wanted: int, shrinking: Collection[str]) -> tuple[bool, bool, int]:
    """Queues that shrink first, then who is idle and who is not, then the widest differences."""
    cost = pod.cost or 0
    return pod.queue not in shrinking, (cost == 0) == (wanted == 0), -abs(cost - wanted)
