"""Moving the jobs of a queue from one broker to another: `littleq move`.

journal   what was written down before and after each step, in a file
mover     the steps, and what a second run makes of a journal
"""

from littleq.moving.journal import Journal, JournalError, Totals
from littleq.moving.mover import Mover

__all__ = ["Journal", "JournalError", "Mover", "Totals"]
