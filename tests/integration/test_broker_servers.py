"""The broker on every kind of server."""

from __future__ import annotations

from tests.lifecycle import SMALL, AppAt, live_through
from tests.servers import Server, any_server, make_own_server

__all__ = ["any_server", "make_own_server"]


def test_a_queue_lives_on_every_server(any_server: Server) -> None:
    app = AppAt(any_server.url, SMALL)
    live_through(app)
    app.close()
