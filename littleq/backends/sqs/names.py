"""From the name of a Dramatiq queue to that of its SQS queues, and back.

As dramatiq-sqs has them, so that both can share a queue: `[NAMESPACE_]QUEUE`, its dead letters at `…_dlq`. Two things
it has no name for: a FIFO queue, whose name ends in `.fifo`, so that the suffix goes before that; and a dot, which SQS
does not allow and `littleq.control` has. (`a.b` and `a-dot-b` are one queue, so: an app may have either.)
"""

from __future__ import annotations

import re

from littleq.errors import ConfigurationError

FIFO = ".fifo"
DEAD, DELAYED = "_dlq", "_delay"
#: What stands for a dot.
DOT = "-dot-"
_LEGAL = re.compile(r"[A-Za-z0-9_-]{1,80}")


def is_fifo(queue: str) -> bool:
    """Whether a queue, by its Dramatiq or its SQS name, keeps its order."""
    return queue.endswith(FIFO)


def sqs_name(queue: str, namespace: str = "", suffix: str = "") -> str:
    """The name of an SQS queue.

    Args:
        queue: Dramatiq's.
        suffix: `DEAD`, `DELAYED` (of a FIFO queue: a standard queue) or "".

    Raises:
        ConfigurationError: SQS allows no such name.

    >>> sqs_name("mail"), sqs_name("littleq.control", "shop", DEAD)
    ('mail', 'shop_littleq-dot-control_dlq')
    >>> sqs_name("orders.fifo", suffix=DEAD), sqs_name("orders.fifo", suffix=DELAYED)
    ('orders_dlq.fifo', 'orders_delay')
    """
    fifo = is_fifo(queue)
    stem = queue.removesuffix(FIFO).replace(".", DOT)
    name = f"{namespace}_{stem}{suffix}" if namespace else f"{stem}{suffix}"
    tail = FIFO if fifo and suffix != DELAYED else ""
    if not _LEGAL.fullmatch(name) or len(name + tail) > 80:
        raise ConfigurationError(
            f"Queue {queue!r} would be {name + tail!r} at SQS, which takes up to 80 letters, digits, - and _: "
            "choose a shorter or plainer name, or namespace."
        )
    return name + tail


def queue_name(name: str, namespace: str = "") -> str | None:
    """The Dramatiq queue of an SQS queue; None where its name has another namespace.

    >>> queue_name("shop_littleq-dot-control", "shop"), queue_name("mail", "shop")
    ('littleq.control', None)
    """
    if namespace:
        if not name.startswith(f"{namespace}_"):
            return None
        name = name[len(namespace) + 1 :]
    return name.replace(DOT, ".")
