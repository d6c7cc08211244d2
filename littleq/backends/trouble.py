"""A server that is away, refuses us or is not ready: one exception with one sentence, whichever broker it is.

    client's exception ── Backend.trouble ──> what is wrong, and what to do ──> BrokerUnavailable

Each backend knows what the errors of its own client mean; `in_plain_words` stands between it and whoever looks at
queues or dead letters. What nobody has an explanation for passes as it is: it may be a bug of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from littleq.errors import BackendError

if TYPE_CHECKING:
    from littleq.backends.base import Backend

#: What to do about a server that does not answer.
START: Final = "start it, or name another with --url"


class Trouble(NamedTuple):
    """What an error of a broker's client means.

    Attributes:
        what: what is wrong with the server, as the end of "The server …", without a secret.
        do: what an operator does next, without a full stop.
    """

    what: str
    do: str = START


Explain = Callable[[BaseException], Trouble | None]


class BrokerUnavailable(BackendError):
    """The broker's server cannot be used now; the client's own error is its `__cause__`.

    Attributes:
        reason: which server, and what is wrong with it.
        advice: what to do.
    """

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(f"{reason[:1].upper()}{reason[1:]}: {advice}.")
        self.reason, self.advice = reason, advice


def in_plain_words(backend: Backend, where: str, explain: Explain) -> Backend:
    """The same backend; all that asks its server raises `BrokerUnavailable` for what `explain` knows.

    Args:
        where: the server, without a secret.
    """
    server = f"the {backend.capabilities.broker} server at {where}"

    @contextmanager
    def words() -> Iterator[None]:
        try:
            yield
        except BrokerUnavailable:
            raise
        except Exception as error:
            trouble = explain(error)
            if trouble is None:
                raise
            raise BrokerUnavailable(f"{server} {trouble.what}", trouble.do) from error

    def told(call: Any) -> Any:
        @wraps(call)
        def telling(*args: Any, **kwargs: Any) -> Any:
            with words():
                answer = call(*args, **kwargs)
            return streamed(answer) if isinstance(answer, Iterator) else answer

        return telling

    def streamed(found: Iterator[Any]) -> Iterator[Any]:
        with words():
            yield from found

    def is_transient(error: BaseException) -> bool:
        cause = error.__cause__ if isinstance(error, BrokerUnavailable) else None
        return backend.is_transient(cause or error)

    return replace(
        backend,
        inspector=_Told(backend.inspector, told),
        dead_letters=_Told(backend.dead_letters, told),
        schedule=None if backend.schedule is None else _Told(backend.schedule, told),
        controls=None if backend.controls is None else _Told(backend.controls, told),
        ping=None if backend.ping is None else told(backend.ping),
        is_transient=is_transient,
    )


class _Told:
    """An inspector, or any such part of a backend, each of whose methods is called in plain words."""

    def __init__(self, part: Any, told: Callable[[Any], Any]) -> None:
        self._part, self._told = part, told

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        return self._told(found) if callable(found) else found
