"""Processes that hang on a leash: starting, asking, stopping. Decides nothing.

    worker   forked from multiprocessing's fork server, which has imported Dramatiq and LittleQ and never the app
    part     a new interpreter (`part`): what it runs is not ours

The fork server ends with this process. If it is killed itself, its children count as ended, their leash is let go,
and so they end, too; the next start starts another one. When this process ends by an error all leashes are let go
first: multiprocessing waits for its children then, and they would wait for us.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import IO, Protocol

from littleq.autoscale.pool import child
from littleq.autoscale.pool.child import Work
from littleq.autoscale.pool.leash import MARGIN_SECONDS, QUESTION, READY
from littleq.autoscale.pool.plan import State, WorkerView
from littleq.background import at_process_exit
from littleq.clock import SYSTEM_CLOCK, Clock

#: How often a process is asked how busy it is; and an answer that has not come for so long means: busy. In seconds.
ASK_SECONDS, ANSWER_SECONDS = 0.25, 1.0


@dataclass(frozen=True)
class Part:
    """A function, `module:name`, in a process of its own; `grace`: seconds that it may take to stop."""

    function: str
    arguments: Sequence[str] = ()
    grace: float = 2.0


class Handle(Protocol):
    """A process that was started here."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        ...


@dataclass
class Process:
    """One process of a group. Times are monotonic.

    Attributes:
        state: see `WorkerView`.
        ready_at: when it took jobs first.
        asked_at: when it was last asked how busy it is.
        owes: it has not answered.
        kill_at: when our patience ends, once it is stopping.
        is_listening: its end of the line is open.
    """

    number: int
    handle: Handle
    line: socket.socket
    started_at: float
    grace: float
    state: State = "starting"
    ready_at: float | None = None
    running: int = 0
    held: int = 0
    asked_at: float = float("-inf")
    owes: bool = False
    kill_at: float | None = None
    is_listening: bool = True
    _heard: bytes = field(default=b"", repr=False)

    @property
    def pid(self) -> int:
        return self.handle.pid

    def view(self, now: float) -> WorkerView:
        """What a plan needs to know."""
        silent = self.owes and now - self.asked_at > ANSWER_SECONDS
        age = now - self.started_at
        return WorkerView(self.number, self.state, None if silent else self.running, self.held, age)

    def ask(self, now: float) -> None:
        """Ask how busy it is, if it is time for that and it owes no answer."""
        if self.state == "ready" and not self.owes and now - self.asked_at >= ASK_SECONDS:
            self.asked_at, self.owes = now, True
            with suppress(OSError):  # it is ending
                self.line.send(QUESTION)

    def listen(self, now: float) -> bool:
        """Take in what it has said; whether it has just become ready."""
        before = self.ready_at
        with suppress(BlockingIOError):
            while words := self._receive():
                self._heard += words
            self.is_listening = False
        *lines, self._heard = self._heard.split(b"\n")
        for line in lines:
            if line + b"\n" == READY:
                self.ready_at = now
                self.state = "ready" if self.state == "starting" else self.state
            else:
                self.running, self.held = (int(number) for number in line.split())
                self.owes = False
        return before is None and self.ready_at is not None

    def stop(self, now: float) -> None:
        """Ask it to stop; what it runs may go on for the grace period."""
        if self.state != "stopping":
            self.state, self.kill_at = "stopping", now + self.grace + MARGIN_SECONDS
            self._signal(os.kill, signal.SIGTERM)

    def kill(self) -> None:
        """End it, and what its jobs have started."""
        self._signal(os.killpg, signal.SIGKILL)

    def status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        status = self.handle.poll()
        if status is not None:
            self.line.close()
        return status

    def _receive(self) -> bytes:
        try:
            return self.line.recv(4096)
        except ConnectionError:
            return b""

    def _signal(self, send: Callable[[int, int], None], number: int) -> None:
        if self.handle.poll() is None:  # not reaped: the pid is still its own
            with suppress(ProcessLookupError, PermissionError):  # just ended; macOS says it the second way
                send(self.pid, number)


class _Forked:
    """A process of the fork server."""

    def __init__(self, process: multiprocessing.process.BaseProcess) -> None:
        self._process = process
        self.pid = int(process.pid or 0)

    def poll(self) -> int | None:
        return self._process.exitcode


class Launcher:
    """Starts processes. What uses it must be importable without running (`if __name__ == "__main__"`): the fork server
    imports the main module, as multiprocessing does.

    Args:
        environment: of the processes; default: of this one.
        output: takes each line that a process writes, without its end, on a thread of that process; None: they write to
            this process's stderr themselves.
    """

    def __init__(
        self,
        environment: dict[str, str] | None = None,
        output: Callable[[str], object] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._environment = environment
        self._output = output
        self._clock = clock
        self._number = 0
        self._lines: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["littleq.autoscale.pool.preload"])

    def start(self, program: Work | Part) -> Process:
        """Start a process.

        Raises:
            OSError: the system has no process left, or no memory.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            handle = (
                self._fork(theirs, program) if isinstance(program, Work) else self._spawn(theirs, program)
            )
        except (OSError, EOFError) as error:
            ours.close()
            raise OSError(f"{type(error).__name__}: {error}") from error
        finally:
            theirs.close()
        self._number += 1
        self._lines.add(ours)
        at_process_exit(self.let_go)  # of the workers; multiprocessing's own, which is older, comes after it
        return Process(self._number, handle, ours, self._clock.monotonic(), program.grace)

    def let_go(self) -> None:
        """Let all processes know that nobody looks after them any more: they finish what they run, and end."""
        for line in tuple(self._lines):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def _fork(self, line: socket.socket, work: Work) -> Handle:
        environment = dict(os.environ) if self._environment is None else self._environment
        reader, writer = self._context.Pipe(duplex=False) if self._output is not None else (None, None)
        try:
            process = self._context.Process(target=child.run, args=(line, writer, environment, work))
            process.start()
        finally:
            if writer is not None:
                writer.close()
        if reader is not None:
            self._pass_on(_lines_of(reader), process.pid)
        return _Forked(process)

    def _spawn(self, line: socket.socket, part: Part) -> Handle:
        command = [sys.executable, "-m", "littleq.autoscale.pool.part", str(line.fileno()), part.function]
        popen = subprocess.Popen(
            [*command, *part.arguments],
            pass_fds=(line.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=2 if self._output is None else subprocess.PIPE,
            stderr=2 if self._output is None else subprocess.STDOUT,
            env=self._environment,
            start_new_session=True,  # Ctrl-C is for us to hear, and to tell
        )
        if popen.stdout is not None:
            self._pass_on(popen.stdout, popen.pid)
        return popen

    def _pass_on(self, lines: IO[bytes], pid: int | None) -> None:
        def read() -> None:
            assert self._output is not None
            with lines:
                for line in lines:
                    self._output(line.decode(errors="replace").rstrip())

        threading.Thread(target=read, name=f"littleq-output-{pid}", daemon=True).start()


def _lines_of(reader: Connection) -> IO[bytes]:
    """What comes through a pipe, as a file."""
    file = os.fdopen(os.dup(reader.fileno()), "rb")
    reader.close()
    return file
