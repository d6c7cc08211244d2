"""What this process has in hand of a queue: jobs that Dramatiq got, and what is to be said about them.

A job is delivered on a link (see `link`). When the link breaks, the server takes the job back and delivers it again, to
anybody; no ack can be sent for it any more. Jobs whose link broke are remembered here by their content: one that comes
again to this process is settled as soon as it has ended, and does not run twice.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, Literal

from dramatiq.broker import MessageProxy

from littleq.backends.rabbitmq.link import Delivered, Link

if TYPE_CHECKING:
    from dramatiq import Message

#: Jobs that are remembered after their link: as good as never more.
MOST_LOST = 10_000
#: Acks that may have been on the wire when a link broke.
LAST_ACKS = 1000

_numbers = itertools.count()


class Handed(MessageProxy):
    """A job as Dramatiq gets it."""

    def __init__(self, message: Message[Any], delivered: Delivered) -> None:
        super().__init__(message)
        self.delivered = delivered
        self.number = next(_numbers)

    @property
    def mark(self) -> int:
        """The same for each delivery of the same job."""
        return hash(self.delivered.body)


class Hands:
    """One per queue and process; outlives consumers and their links."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[int, Handed] = {}
        self._acked: deque[int] = deque(maxlen=LAST_ACKS)
        self._lost: OrderedDict[int, Literal["runs", "over"] | Delivered] = OrderedDict()

    def __len__(self) -> int:
        return len(self._running)

    def take(self, proxy: Handed) -> bool:
        """Note a job that is to be handed out; False: it came again, and must not run (again)."""
        with self._lock:
            known = self._lost.get(proxy.mark) if proxy.delivered.redelivered else None
            if known == "over":
                del self._lost[proxy.mark]
                proxy.delivered.link.answer("ack", proxy.delivered)
            elif known is not None:
                self._lost[proxy.mark] = proxy.delivered  # it still runs: whoever ends it settles this one
            else:
                self._running[proxy.number] = proxy
            return known is None

    def give_back(self, proxy: Handed) -> None:
        """The job goes back to the server, which may have taken it already."""
        with self._lock:
            if self._running.pop(proxy.number, None) is not None:
                again = self._lost.pop(proxy.mark, None)
                delivered = again if isinstance(again, Delivered) else proxy.delivered
                delivered.link.answer("back", delivered)

    def settle(self, proxy: Handed) -> bool:
        """The job is over; False: the server cannot be told, unless the job comes here again."""
        with self._lock:
            if self._running.pop(proxy.number, None) is None:
                return True
            again = self._lost.get(proxy.mark)
            delivered = again if isinstance(again, Delivered) else proxy.delivered
            if delivered.link.is_broken:
                self._remember(proxy.mark, "over")
                return False
            self._lost.pop(proxy.mark, None)
            self._acked.append(proxy.mark)
            delivered.link.answer("ack", delivered)
            return True

    def link_broke(self, link: Link) -> None:
        """What was delivered on it comes again, to anybody."""
        with self._lock:
            link.is_broken = True
            for proxy in self._running.values():
                if proxy.delivered.link is link and proxy.mark not in self._lost:
                    self._remember(proxy.mark, "runs")
            for mark, known in tuple(self._lost.items()):
                if isinstance(known, Delivered) and known.link is link:
                    self._lost[mark] = "runs"
            for mark in self._acked:  # the server may not have heard of them
                self._remember(mark, "over")
            self._acked.clear()

    def _remember(self, mark: int, what: Literal["runs", "over"]) -> None:
        self._lost[mark] = what
        while len(self._lost) > MOST_LOST:
            self._lost.popitem(last=False)
