"""From Dramatiq's messages to what SQS takes, hooks included."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dramatiq import Message
from dramatiq.common import current_millis

from littleq.backends.base import Receipt, Sending
from littleq.backends.forms import with_options
from littleq.backends.sqs import outages
from littleq.backends.sqs.wire import Parcel, body_of, checked, fitting

if TYPE_CHECKING:
    from littleq.backends.sqs.broker import SQSBroker

#: Options of an actor (the first) and of a message: `MessageGroupId` and `MessageDeduplicationId`.
GROUP, DEDUP = "message_group_id", "message_deduplication_id"
#: What SQS takes for either.
_LABEL = re.compile(r"[!-~]{1,128}")


class _Prepared(NamedTuple):
    """A message that has passed the hooks, and where it goes."""

    address: str
    message: Message[Any]
    parcel: Parcel


def labels(message: Message[Any]) -> tuple[str | None, str | None]:
    """MessageGroupId and MessageDeduplicationId, None where nothing was asked for.

    A retry carries no id of the app's: within five minutes SQS would take it for the attempt that failed, and drop it.

    Raises:
        SQSError: SQS takes no such id.
    """
    options = message.options
    for name in (GROUP, DEDUP):
        label = options.get(name)
        if label is not None and not (isinstance(label, str) and _LABEL.fullmatch(label)):
            raise outages.SQSError(
                f"Option {name} is {repr(label)[:80]}: it must be 1 to 128 visible ASCII characters."
            )
    return options.get(GROUP), None if options.get("retries") else options.get(DEDUP)


class Dispatch:
    """The part of `SQSBroker.enqueue` that is about messages."""

    def __init__(self, broker: SQSBroker) -> None:
        self._broker = broker

    def send(self, sendings: Sequence[Sending]) -> list[Receipt]:
        """See `SQSBroker.enqueue_many`."""
        prepared = [self._prepare(sending) for sending in sendings]
        unsent = self._send_by_address(sendings, prepared)
        for number, (sending, each) in enumerate(zip(sendings, prepared, strict=True)):
            if number not in unsent:
                self._broker.emit_after("enqueue", each.message, sending.delay)
        if unsent:
            raise outages.PartlySent(
                [each.message for number, each in enumerate(sendings) if number not in unsent],
                [sendings[number].message for number in sorted(unsent)],
                list(unsent.values()),
            )
        return [Receipt(each.message, "in") for each in prepared]

    def _prepare(self, sending: Sending) -> _Prepared:
        message, delay, broker = sending.message, sending.delay, self._broker
        with outages.in_plain_words(message.queue_name):
            place = broker.place(message.queue_name)
        eta = {} if delay is None else {"eta": current_millis() + delay}
        message = with_options(message, **eta)
        actor = broker.actors.get(message.actor_name)
        if GROUP not in message.options and actor is not None and GROUP in actor.options:
            message.options[GROUP] = actor.options[GROUP]  # whoever moves it later may not know the actor
        broker.emit_before("enqueue", message, delay)
        group, dedup = labels(message)
        if sending.held is None:
            body = checked(message, body_of(message), place.largest)
        else:
            body = fitting(message, place.largest)
        seconds = broker.delays.seconds((delay or 0) / 1000)
        if place.delayed is not None and delay:
            return _Prepared(place.delayed, message, Parcel(body, seconds))
        return _Prepared(place.url, message, Parcel(body, seconds, group, dedup))

    def _send_by_address(self, sendings: Sequence[Sending], prepared: Sequence[_Prepared]) -> dict[int, str]:
        """What SQS did not take: by number, its code."""
        by_address: dict[str, list[int]] = defaultdict(list)
        for number, each in enumerate(prepared):
            by_address[each.address].append(number)
        unsent: dict[int, str] = {}
        sent = 0
        for address, numbers in by_address.items():
            queue = sendings[numbers[0]].message.queue_name
            try:
                with outages.in_plain_words(queue):
                    refused = self._send(queue, address, [prepared[number].parcel for number in numbers])
            except outages.SQSError as error:
                if not sent:
                    raise
                cause = error.__cause__ or error
                code = outages.code_of(cause) or type(cause).__name__
                refused = dict.fromkeys(range(len(numbers)), code)
            unsent.update({numbers[index]: code for index, code in refused.items()})
            sent += len(numbers) - len(refused)
        return unsent

    def _send(self, queue: str, address: str, parcels: Sequence[Parcel]) -> dict[int, str]:
        broker = self._broker
        try:
            return broker.outbox.send_all(address, parcels)
        except outages.SQS_ERRORS as error:
            if not outages.is_missing(error) or not broker.settings.create:
                raise
            was_delayed = broker.place(queue).delayed == address
            broker.addresses.forget(queue)  # somebody deleted it, and it may be made again
            place = broker.place(queue)
            return broker.outbox.send_all(
                place.delayed if was_delayed and place.delayed else place.url, parcels
            )
