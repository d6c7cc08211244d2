"""What a move writes into ledgers: where a broker keeps no accounts itself, its queue's are kept there.

Two brokers with one ledger need nothing: the job was counted when it was sent, and is still in the queue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from littleq.ledger import Batch, in_memory, open_ledger
from littleq.ledger.fields import PURGED, qualified

if TYPE_CHECKING:
    from littleq.backends import Backend
    from littleq.config import Config


@dataclass(frozen=True, slots=True)
class End:
    """One end of a move."""

    config: Config
    backend: Backend

    @property
    def ledger(self) -> tuple[str, str] | None:
        """Where its ledger is; None: in the memory of other processes."""
        config = self.config
        return None if in_memory(config) else (config.ledger_url or config.url, config.namespace)

    @property
    def is_in_ledger(self) -> bool:
        """Whether the ledger keeps its accounts."""
        return bool(self.backend.capabilities.accounts.value == "ledger")


def count(source: End, target: End, queue: str, jobs: int, *, move: str, number: int) -> None:
    """Count jobs that left one end as purged, and those that came to the other as admitted.

    Args:
        number: of the last batch: said twice, it counts once.

    Raises:
        LedgerUnavailable: it may be counted or not.
    """
    stays = source.ledger == target.ledger and target.is_in_ledger
    for end, name, field in (
        (source, "out", PURGED),
        (target, "in", qualified("bypassed", "default")),
    ):
        if jobs and end.is_in_ledger and end.ledger is not None and not stays:
            open_ledger(end.config).apply(Batch(f"move:{move}:{name}", number, {queue: {field: jobs}}))
