"""Runs a broker's hooks, leaving out those that do nothing.

Dramatiq calls every hook of every middleware: with the stack installed some eighty calls a job, of which
three quarters are the empty ones of the base class. Knowing which are overridden pays for a good part of
the stack. Order, arguments, log lines and what may be raised are Dramatiq's (`Broker.emit_before`,
`Broker.emit_after`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dramatiq import Broker
from dramatiq.middleware import Middleware, MiddlewareError

from littleq import job, passage

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Hooks in which `Overloaded`, a MiddlewareError, would stop Dramatiq from settling the job.
_SETTLING = frozenset({"ack", "nack", "delay_message"})
#: After these it is known what becomes of a job.
_VERDICTS = frozenset({"process_message", "skip_message"})
_FAILED = "Unexpected failure in %s of %r."


class Hooks:
    """The hooks of one broker. A middleware that is added or removed later is noticed."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._emit_before = broker.emit_before
        self._emit_after = broker.emit_after
        self._is_ours = False  # whether `_emit_after` is
        # The stack as last seen, and who in it overrides which hook: replaced together, as other threads look too.
        self._known: tuple[list[Middleware], dict[str, list[Middleware]]] = ([], {})

    def take_over(self) -> None:
        """Run the broker's hooks from now on. A broker class with an emitter of its own keeps that."""
        broker = self._broker
        if type(broker).emit_before is Broker.emit_before:
            self._emit_before = self._run_before
        if type(broker).emit_after is Broker.emit_after:
            self._emit_after, self._is_ours = self._run_after, True
        broker.emit_before = self.emit_before  # type: ignore[method-assign]
        broker.emit_after = self.emit_after  # type: ignore[method-assign]

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """As `Broker.emit_before`; a send refused in there would leave the job unsettled."""
        if signal in _SETTLING:
            with passage.unrefusable():
                self._emit_before(signal, *args, **kwargs)
        else:
            self._emit_before(signal, *args, **kwargs)

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """As `Broker.emit_after`; what is sent in there cannot be refused, since nobody would hear of it."""
        if self._is_ours and not self._with("after_" + signal):
            if signal in _VERDICTS:
                job.note(args[0], judged=True)
            return
        token = passage.in_after_hook.set(True)
        job_token = passage.after_job.set(signal == "process_message")
        try:
            self._emit_after(signal, *args, **kwargs)
            if signal in _VERDICTS:
                job.note(args[0], judged=True)
        finally:
            passage.after_job.reset(job_token)
            passage.in_after_hook.reset(token)

    def _run_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        name = "before_" + signal
        for middleware in self._with(name):
            try:
                getattr(middleware, name)(self._broker, *args, **kwargs)
            except MiddlewareError:
                raise
            except Exception:
                self._broker.logger.critical(_FAILED, name, middleware, exc_info=True)

    def _run_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        name = "after_" + signal
        for middleware in reversed(self._with(name)):
            try:
                getattr(middleware, name)(self._broker, *args, **kwargs)
            except Exception:
                self._broker.logger.critical(_FAILED, name, middleware, exc_info=True)

    def _with(self, name: str) -> Sequence[Middleware]:
        """Middlewares whose hook `name` does something, in their order."""
        seen, overriding = self._known
        if self._broker.middleware != seen:
            seen, overriding = self._known = list(self._broker.middleware), {}
        found = overriding.get(name)
        if found is None:
            empty = getattr(Middleware, name, None)
            found = overriding[name] = [
                m for m in seen if getattr(type(m), name, None) is not empty or name in vars(m)
            ]
        return found
