"""What the server's management API tells beyond AMQP: which queues there are, and how many jobs workers hold.

It may be missing, or refuse this user: then nothing of it is known, for half a minute nobody asks again, and everything
else works. Its numbers are up to five seconds old, as the server collects them that often.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Collection, Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from dramatiq.logging import get_logger

TIMEOUT_SECONDS = 1.0
#: After a failure it is left alone for so long, in seconds.
LEAVE_ALONE_SECONDS = 30.0
#: An answer is used for so long, in seconds: the server's own numbers are older.
KEEP_SECONDS = 1.0


class Management:
    """The API at one address.

    Args:
        url: with scheme, host and port; None: there is none.
    """

    def __init__(self, url: str | None, user: str, password: str, vhost: str) -> None:
        self._logger = get_logger(__name__, type(self))
        self._url = url
        self._authorization = "Basic " + b64encode(f"{user}:{password}".encode()).decode()
        self._vhost = quote(vhost, safe="")
        self._ask_again_at = 0.0
        self._queues: tuple[float, list[dict[str, Any]]] = (float("-inf"), [])

    def names(self) -> set[str] | None:
        """All queues of the virtual host; None: not known."""
        found = self._all()
        return None if found is None else {queue["name"] for queue in found}

    def unacked(self, names: Collection[str]) -> int | None:
        """How many jobs of these queues are held by consumers; None: not known."""
        found = self._all()
        if found is None:
            return None
        wanted = set(names)
        return sum(q.get("messages_unacknowledged") or 0 for q in found if q["name"] in wanted)

    def head_times(self, names: Collection[str]) -> Mapping[str, float]:
        """When the first ready job of each queue became ready, s since the epoch; classic queues know."""
        wanted = set(names)
        stamps = {
            q["name"]: q.get("head_message_timestamp") for q in self._all() or () if q["name"] in wanted
        }
        return {name: float(stamp) for name, stamp in stamps.items() if isinstance(stamp, int)}

    def _all(self) -> list[dict[str, Any]] | None:
        now = time.monotonic()
        taken_at, known = self._queues
        if now - taken_at < KEEP_SECONDS:
            return known
        columns = "name,messages_unacknowledged,head_message_timestamp"
        found = self._get(f"/api/queues/{self._vhost}?columns={columns}")
        if not isinstance(found, list):
            return None
        self._queues = now, found
        return found

    def _get(self, path: str) -> Any:
        if self._url is None or time.monotonic() < self._ask_again_at:
            return None
        request = Request(self._url + path, headers={"Authorization": self._authorization})  # noqa: S310 - http(s), checked
        try:
            with urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
                return json.load(answer)
        except (OSError, ValueError, HTTPException) as error:
            self._ask_again_at = time.monotonic() + LEAVE_ALONE_SECONDS
            said = f"HTTP {error.code}" if isinstance(error, HTTPError) else type(error).__name__
            self._logger.debug("The management API at %s does not answer (%s).", self._url, said)
            return None
