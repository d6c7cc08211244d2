"""The desired number for a cluster whose autoscaler ignores small changes."""

from __future__ import annotations


def stepped(workers: int) -> int:
    """The least number of workers on the ladder 0 to 9, 11, 13, 15, 17, 19, 22, … that is enough.

    An HPA leaves its replicas alone while |value / replicas − 1| <= 0.1, and before Kubernetes 1.35 that
    tolerance cannot be set for one HPA. From any rung to any other is more than that, upwards and downwards (down is
    the narrower one: the next rung after r is the first above r / 0.9). So replicas that stand on a rung follow
    every change of it, and are never fewer than `workers`, at most an eighth plus one more.

    Args:
        workers: as decided; >= 0.

    Source: the algorithm of the Horizontal Pod Autoscaler, Kubernetes documentation.

    >>> [stepped(workers) for workers in (0, 1, 9, 10, 12, 20, 23, 100)]
    [0, 1, 9, 11, 13, 22, 25, 103]
    """
    rung = min(workers, 1)
    while rung < workers:
        rung = rung * 10 // 9 + 1
    return rung
