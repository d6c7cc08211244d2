"""How queues and exchanges are called on the server.

What Dramatiq has too is called as there: the queue `q` itself, its dead letters `q.XQ`, and `q.DQ`, where plain
Dramatiq keeps delayed jobs and this broker keeps none. The rest carries an `@`, which no Dramatiq queue may have in its
name, so that nothing can clash:

    q@first.N   first sends to a queue with a contract, at most so many as the contract says; N = 0, 1, …
    q@due.KK    delayed jobs that wait 2^KK grains more (see `ladder`); exchanges of the same names, and `q@due`
    q@letters   dead letters, where `q.XQ` is plain Dramatiq's, which forgets them
"""

from __future__ import annotations

from dataclasses import dataclass

#: The namespace in which names are as Dramatiq has them.
PLAIN = "dramatiq"


@dataclass(frozen=True, slots=True)
class Names:
    """Names on the server of what belongs to a queue."""

    namespace: str = PLAIN

    @property
    def prefix(self) -> str:
        return "" if self.namespace == PLAIN else f"{self.namespace}."

    def main(self, queue: str) -> str:
        return self.prefix + queue

    def first(self, queue: str, slot: int) -> str:
        return f"{self.prefix}{queue}@first.{slot}"

    def letters(self, queue: str) -> str:
        return f"{self.prefix}{queue}.XQ"

    def kept(self, queue: str) -> str:
        return f"{self.prefix}{queue}@letters"

    def foreign_delayed(self, queue: str) -> str:
        return f"{self.prefix}{queue}.DQ"

    def due(self, queue: str) -> str:
        return f"{self.prefix}{queue}@due"

    def rung(self, queue: str, rung: int) -> str:
        return f"{self.prefix}{queue}@due.{rung:02}"

    def queues_in(self, found: set[str]) -> set[str]:
        """Dramatiq's queues among all names of a server: those that have dead letters.

        >>> sorted(Names().queues_in({"q", "q.XQ", "q@due.00", "somebody", "else.XQ"}))
        ['q']
        >>> Names("shop").queues_in({"shop.q", "shop.q.XQ", "q", "q.XQ"})
        {'q'}
        """
        queues = {name.removesuffix(".XQ") for name in found if name.endswith(".XQ")} & found
        return {name.removeprefix(self.prefix) for name in queues if name.startswith(self.prefix)}
