"""Sends messages, ten with each request, and does not return before SQS has confirmed each."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from littleq.backends.sqs import outages
from littleq.backends.sqs.wire import Parcel, batches

if TYPE_CHECKING:
    from littleq.backends.sqs.clients import Clients

#: Attempts for the entries of a batch that SQS did not take for now, and the pause after the first, in seconds; it
#: doubles. A whole request that fails is the client's to repeat.
ATTEMPTS, PAUSE_SECONDS = 5, 0.1


class Outbox:
    """The sending half of a broker."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def send(self, url: str, parcel: Parcel) -> None:
        """Send one.

        Raises:
            botocore.exceptions.ClientError, BotoCoreError: SQS refuses, or is away.
        """
        self._clients.quick.send_message(QueueUrl=url, **parcel.entry(_is_fifo(url)))

    def send_all(self, url: str, parcels: Sequence[Parcel]) -> dict[int, str]:
        """Send many to one queue.

        Returns:
            Those that are not in: by number, the code that SQS gives.

        Raises:
            botocore.exceptions.ClientError, BotoCoreError: the first request failed as a whole: nothing is in. After
                that such a failure is told like that of a single message.
        """
        unsent: dict[int, str] = {}
        at = 0
        for batch in batches(parcels):
            numbers = range(at, at + len(batch))
            at += len(batch)
            try:
                refused = self._send_batch(url, batch)
            except outages.SQS_ERRORS as error:
                if numbers.start == 0:
                    raise
                code = outages.code_of(error) or type(error).__name__
                unsent.update(dict.fromkeys(range(numbers.start, len(parcels)), code))
                break
            unsent.update({numbers[index]: code for index, code in refused.items()})
        return unsent

    def _send_batch(self, url: str, batch: Sequence[Parcel]) -> dict[int, str]:
        if len(batch) == 1:
            self.send(url, batch[0])
            return {}
        fifo, waiting, refused = _is_fifo(url), dict(enumerate(batch)), {}
        for attempt in range(ATTEMPTS):
            entries: list[dict[str, Any]] = [
                {"Id": str(number), **parcel.entry(fifo)} for number, parcel in waiting.items()
            ]
            found = outages.failed(self._clients.quick.send_message_batch(QueueUrl=url, Entries=entries))
            refused.update({n: code for n, code in found.items() if not outages.is_code_transient(code)})
            later = {n: code for n, code in found.items() if outages.is_code_transient(code)}
            if not later or attempt == ATTEMPTS - 1:
                refused.update(later)
                break
            waiting = {number: batch[number] for number in later}
            time.sleep(PAUSE_SECONDS * 2**attempt * random.uniform(0.5, 1.0))
        return refused


def _is_fifo(url: str) -> bool:
    return url.endswith(".fifo")
