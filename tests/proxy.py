"""A network that a test may cut: a TCP proxy in a thread of its own.

open     bytes pass
cut      all connections are reset, new ones too
hole     silence: nothing passes, nobody is told. What was on its way arrives when the proxy is open again, as TCP
repeats
         it then; also what its sender has given up on meanwhile.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from typing import Any

_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Stands before a TCP port of this host, or before a Unix socket."""

    def __init__(self, target: int | str) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port = int(self._listener.getsockname()[1])
        self.state = "open"
        self._peers: dict[socket.socket, socket.socket] = {}
        self._ended: set[socket.socket] = set()
        self._old: set[socket.socket] = set()
        self._old_until = 0.0
        self._wake, self._waker = socket.socketpair()
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        return len(self._peers) // 2

    def open(self, late: float = 0.0) -> None:
        """Let bytes pass; what a hole has held back comes `late` seconds after what is new."""
        self._old, self._old_until = set(self._peers), time.monotonic() + late
        self._become("open")

    def lead_to(self, target: int | str) -> None:
        """Where connections go from now on; those that stand stay."""
        self._target = target

    def cut(self) -> None:
        self._become("cut")

    def hole(self) -> None:
        self._become("hole")

    def close(self) -> None:
        self._become("closed")
        self._thread.join(5)

    def _become(self, state: str) -> None:
        with self._lock:  # the thread may see the state before it is woken, and close what wakes it
            self.state = state
            self._waker.send(b"x")

    def _run(self) -> None:
        while self.state != "closed":
            ready = [key.fileobj for key, _ in self._selector.select()]
            with self._lock:
                state = self.state
            if self._wake in ready:
                self._wake.recv(100)
            if state in ("cut", "closed"):
                for end in list(self._peers):
                    self._reset(end)
            if state == "hole" or not self._pass(ready, state):
                time.sleep(0.002)  # what waits in the sockets makes `select` return at once
        with self._lock:
            for thing in (self._listener, self._wake, self._waker, self._selector):
                thing.close()

    def _pass(self, ready: list[Any], state: str) -> bool:
        """Whether there was anything to do."""
        held_back = self._old if time.monotonic() < self._old_until else set()
        todo = [end for end in ready if end is not self._wake and end not in held_back]
        for end in todo:
            if end is self._listener:
                self._accept(state)
            else:
                self._pass_on(end)
        return bool(todo)

    def _accept(self, state: str) -> None:
        end, _ = self._listener.accept()
        if state == "cut":
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            end.close()
            return
        try:
            if isinstance(self._target, int):
                other = socket.create_connection(("127.0.0.1", self._target))
            else:
                other = socket.socket(socket.AF_UNIX)
                other.connect(self._target)
        except OSError:
            end.close()
            return
        for this, that in ((end, other), (other, end)):
            self._peers[this] = that
            self._selector.register(this, selectors.EVENT_READ)

    def _pass_on(self, end: socket.socket) -> None:
        other = self._peers.get(end)
        if other is None or end in self._ended:
            return
        try:
            data = end.recv(65536)
            if data:
                other.sendall(data)
            else:
                self._ended.add(end)
                self._selector.unregister(end)
                other.shutdown(socket.SHUT_WR)
        except OSError:
            self._reset(end)
        else:
            if {end, other} <= self._ended:
                self._reset(end)

    def _reset(self, end: socket.socket) -> None:
        other = self._peers.pop(end, None)
        if other is None:
            return
        del self._peers[other]
        for this in (end, other):
            if this not in self._ended:
                self._selector.unregister(this)
            self._ended.discard(this)
            if self.state == "cut":
                this.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            this.close()
