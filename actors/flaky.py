"""Work that fails: what a retry cures, and what no retry ever will.

Which jobs fail follows from a hash, not from a random source: a demo can be repeated, and a test can say
beforehand what must end where, whichever process runs the job.
"""

from __future__ import annotations

import hashlib
import logging
import time

import dramatiq
from dramatiq.middleware import CurrentMessage

logger = logging.getLogger(__name__)

#: Bad enough to keep the retries busy: one call in five, 1 / (1 - 0.2) - 1 = 0.25 retries a job. With three
#: retries, 0.2 ** 4 = 0.16 % of the jobs run out of them.
OUTAGE_SHARE = 0.2
BAD_ROW_SHARE = 0.05
LATENCY_SECONDS = 0.02


class PartnerUnavailable(ConnectionError):  # a state of the partner, no error of ours
    """The partner's service did not answer; it may, next time."""


def _chance(*key: object) -> float:
    """A number in [0, 1) that depends on the key alone (`hash()` would differ from process to process)."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def is_partner_down(job: str, attempt: int) -> bool:
    """Whether this attempt (0 is the first) at a job meets an outage; each attempt has a fresh chance."""
    return _chance("partner", job, attempt) < OUTAGE_SHARE


def is_bad_row(number: int) -> bool:
    """Whether row `number` is corrupt. No attempt number here: bad data stays bad."""
    return _chance("row", number) < BAD_ROW_SHARE


@dramatiq.actor(queue_name="realtime")
def call_partner(number: int = 0) -> None:
    """Call another company's service. The one sleep of this app stands in for the network.

    Called directly, with no message, it is the first attempt at a job named `number`.

    Raises:
        PartnerUnavailable: no answer; a retry or two cures it.
    """
    message = CurrentMessage.get_current_message()
    job = message.message_id if message else str(number)
    attempt = message.options.get("retries", 0) if message else 0
    time.sleep(LATENCY_SECONDS)
    if is_partner_down(job, attempt):
        raise PartnerUnavailable(f"no answer to call {number}, attempt {attempt + 1}")
    logger.debug("call %d answered at attempt %d", number, attempt + 1)


@dramatiq.actor(queue_name="batch")
def import_row(number: int = 0) -> None:
    """Read one line of a table that somebody else exported.

    Raises:
        ValueError: the amount is no number, now and for ever: a dead letter for a human to look at.
    """
    line = f"{number},n/a" if is_bad_row(number) else f"{number},{number / 100:.2f}"
    key, amount = line.split(",")
    logger.debug("row %d: %.2f", int(key), float(amount))
