"""The decisions as JSON, for KEDA's metrics-api trigger and for people.

    GET /api/v1/queues                   all queues, with the workers that each shall have
    GET /api/v1/queues/{queue}/scaling   one of them: number, reason, age

`desired_workers` is null while nobody has decided, or the decision is too old to act on: KEDA takes that for an error
and keeps the replicas, and so it does with any status but 200. The ledger is read once a second at most, however many
ask: ages are counted on from the last reading.

With `exporter_token` set, every request needs `Authorization: Bearer <token>`; without one the API is as open as
/metrics, which listens on 127.0.0.1 by default. /metrics and /healthz never ask: a probe has no token to give, and
what they tell names no job.
"""

from __future__ import annotations

import hmac
import json
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from littleq.clock import SYSTEM_CLOCK, Clock
from littleq.ledger import Ledger, open_ledger
from littleq.ledger.decisions import Published, read_decisions
from littleq.metrics.sources import Source, SourceError
from littleq.metrics.steps import stepped

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from littleq.config import Config

#: Where the API is; what is below it is never anything else.
PREFIX = "/api/"
#: How long a reading of the ledger is good for, in seconds. A decision is made every few seconds.
READING_SECONDS = 1.0

QUEUES = "/api/v1/queues"
_SCALING = re.compile(rf"{QUEUES}/(?P<queue>.+)/scaling")
_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)

Body = Mapping[str, Any]
Answer = tuple[HTTPStatus, Body, Mapping[str, str]]


class Decisions:
    """What was decided about each queue, read from the ledger once for all who ask within a second. Thread-safe.

    A failure is remembered as long: while a ledger hangs, one caller waits for it and not each.
    """

    def __init__(self, ledger: Source[Ledger], clock: Clock = SYSTEM_CLOCK) -> None:
        self._ledger, self._clock = ledger, clock
        self._lock = threading.Lock()
        self._asked_at = self._done_at = float("-inf")
        self._found: dict[str, Published] | None = None

    def read(self) -> dict[str, Published]:
        """By queue, with their age now.

        Raises:
            SourceError: the ledger cannot be read.
        """
        with self._lock:
            now = self._clock.monotonic()
            if now - self._done_at >= READING_SECONDS:
                self._asked_at = now  # a decision looks older for the time of the answer, never younger
                try:
                    self._found = self._ledger.read(read_decisions)
                except SourceError:
                    self._found = None
                self._done_at = self._clock.monotonic()
            found, elapsed = self._found, self._clock.monotonic() - self._asked_at
        if found is None:
            raise SourceError(self._ledger.name)
        return {
            queue: replace(published, age_seconds=published.age_seconds + elapsed)
            for queue, published in found.items()
        }


class Api:
    """The WSGI application below `PREFIX`.

    Args:
        config: its queues exist before anybody has decided about them; its `exporter_token` is asked for.
        decisions: what to tell.
    """

    def __init__(self, config: Config, decisions: Decisions) -> None:
        self._queues, self._token = tuple(config.queues), config.exporter_token
        self._decisions = decisions

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        method = environ.get("REQUEST_METHOD", "GET")
        status, body, headers = self._answer(method, _path(environ), environ.get("HTTP_AUTHORIZATION", ""))
        text = json.dumps(body, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        start_response(
            f"{status.value} {status.phrase}",
            [
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(text))),
                ("Cache-Control", "no-store"),
                *headers.items(),
            ],
        )
        return [b"" if method == "HEAD" else text]

    def _answer(self, method: str, path: str, authorization: str) -> Answer:
        if not self._is_allowed(authorization):
            return _refused(
                HTTPStatus.UNAUTHORIZED,
                "This needs the header Authorization: Bearer <token>, with the exporter_token of this endpoint.",
                {"WWW-Authenticate": 'Bearer realm="littleq"'},
            )
        scaling = _SCALING.fullmatch(path)
        if scaling is None and path != QUEUES:
            return _refused(
                HTTPStatus.NOT_FOUND, f"Nothing is here: ask for {QUEUES} or {QUEUES}/<queue>/scaling."
            )
        if method not in ("GET", "HEAD"):
            return _refused(
                HTTPStatus.METHOD_NOT_ALLOWED,
                f"{method} is not possible here: use GET.",
                {"Allow": "GET, HEAD"},
            )
        try:
            decisions = self._decisions.read()
        except SourceError:
            return _refused(
                HTTPStatus.SERVICE_UNAVAILABLE, "The ledger does not answer: see whether its server runs."
            )
        if scaling is not None:
            return self._scaling(scaling["queue"], decisions)
        names = sorted({*self._queues, *decisions})
        listed = [{"queue": name, "desired_workers": _desired(decisions.get(name))} for name in names]
        return HTTPStatus.OK, {"queues": listed}, {}

    def _scaling(self, queue: str, decisions: Mapping[str, Published]) -> Answer:
        published = decisions.get(queue)
        if published is None and queue not in self._queues:
            return _refused(
                HTTPStatus.NOT_FOUND,
                f"Nobody has decided about a queue {queue!r}: those that are known are listed at {QUEUES}.",
            )
        return HTTPStatus.OK, scaling_document(queue, published), {}

    def _is_allowed(self, authorization: str) -> bool:
        if self._token is None:
            return True
        given = _BEARER.fullmatch(authorization.strip())
        # By bytes: text that is not ASCII cannot be compared in constant time.
        return given is not None and hmac.compare_digest(given[1].encode(), self._token.encode())


def scaling_document(queue: str, published: Published | None) -> dict[str, Any]:
    """One decision as JSON; without one, `desired_workers` is null as it is while the decision is stale."""
    if published is None:
        return {
            "queue": queue,
            "desired_workers": None,
            "desired_workers_stepped": None,
            "required_servers": None,
            "regime": None,
            "reason": "Nobody has decided about this queue yet: see whether the controller runs.",
            "decided_at": None,
            "age_seconds": None,
            "stale": True,
        }
    decision, desired = published.decision, _desired(published)
    return {
        "queue": queue,
        "desired_workers": desired,
        "desired_workers_stepped": None if desired is None else stepped(desired),
        "required_servers": decision.required_servers,
        "regime": decision.regime,
        "reason": decision.reason,
        "decided_at": round(published.decided_at, 3),
        "age_seconds": round(published.age_seconds, 3),
        "stale": published.is_stale,
    }


def api_for(config: Config) -> Api:
    """The API over the configured ledger, which is opened at the first request."""
    return Api(config, Decisions(Source("ledger", lambda: open_ledger(config))))


def _desired(published: Published | None) -> int | None:
    return None if published is None or published.is_stale else published.desired_workers


def _path(environ: WSGIEnvironment) -> str:
    """The path, percent-decoded. WSGI hands its bytes over as Latin-1."""
    return (
        str(environ.get("PATH_INFO", "")).encode("latin-1", "replace").decode("utf-8", "replace").rstrip("/")
    )


def _refused(status: HTTPStatus, sentence: str, headers: Mapping[str, str] | None = None) -> Answer:
    return status, {"error": sentence}, headers or {}
