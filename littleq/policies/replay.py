"""How many dead letters may go back to their queue now.

A replayed job is never refused, so whoever replays holds back by himself: no more jobs than the queue starts within
its SLA, and of those only the share that is open to what may be shed. The rest is left for first-time sends.

Regimes: *idle*, up to the share at once; *busy*, one for each that leaves; *overloaded*, none until it has drained.
Known weakness: the depth is looked at now and then, so sends of the moments between are not seen.
"""

from __future__ import annotations


def replay_room(*, queue_limit: float, servers: int, number_in_system: int, share: float) -> int:
    """Jobs that may be replayed at once.

    Args:
        queue_limit: L, jobs that may wait or run for each to start within the SLA; >= 0.
        servers: c, live worker threads; a free one starts a job at once, whatever the share.
        number_in_system: jobs that wait or run now.
        share: part of the limit that replays may fill, (0, 1].

    Returns:
        Jobs, >= 0; at least 1 for an empty queue, or a tight limit would never let one back.

    >>> replay_room(queue_limit=20, servers=2, number_in_system=4, share=0.5)
    6
    >>> replay_room(queue_limit=4, servers=4, number_in_system=3, share=0.5)
    1
    """
    limit = int(queue_limit)
    # A share of a whole number that falls short of it by a rounding error is meant whole.
    open_to = max(1, int(limit * share + 1e-9), min(servers, limit))
    return max(0, open_to - number_in_system)
