"""Looks through a queue without taking anything away: what is in hand goes back when its connection ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pika
    from pika.adapters.blocking_connection import BlockingChannel

#: A queue that gives nothing for so long while it is looked through has no more, in seconds.
SILENCE_SECONDS = 1.0
#: A quorum queue has no more than so many in the hands of a consumer that names no number: the next channel takes more.
MOST_A_CHANNEL = 2000


def all_in_hand(
    connection: pika.BlockingConnection, place: str, there: int
) -> Iterator[tuple[BlockingChannel, Any, Any, bytes]]:
    """Up to `there` messages of a queue, with the channel that holds each; fewer, if others have some in hand."""
    left = there
    while left > 0:
        share, taken = min(left, MOST_A_CHANNEL), 0
        channel = connection.channel()
        channel.basic_qos(prefetch_count=share)
        for method, properties, body in channel.consume(place, inactivity_timeout=SILENCE_SECONDS):
            if method is None:
                return
            taken += 1
            yield channel, method, properties, body
            if taken == share:
                break
        left -= taken
