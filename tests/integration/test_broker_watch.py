"""A machine that cannot run a watcher: said once, and the worker gives its signs of life itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dramatiq import Message
from redis import Redis

from littleq.backends.redis.broker import RedisBroker
from tests.support import eventually


@pytest.fixture
def broker(valkey_url: str, redis_client: Any) -> Any:
    made = RedisBroker(client=Redis.from_url(valkey_url), middleware=[], heartbeat_timeout=1000)
    yield made
    made.close()


def nowhere(tmp_path: Path) -> str:
    return str(tmp_path / "nowhere")


def failing(tmp_path: Path) -> str:
    program = tmp_path / "failing"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize("program", [nowhere, failing])
def test_a_watcher_that_cannot_run_is_given_up_and_the_worker_beats_itself(
    broker: RedisBroker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    program: Callable[[Path], str],
) -> None:
    monkeypatch.setattr("sys.executable", program(tmp_path))
    broker.enqueue(Message("q", "actor", (), {}, {}))
    assert next(broker.consume("q", prefetch=1, timeout=10)) is not None
    eventually(lambda: "No watcher can be started" in caplog.text, what="a word about it")
    assert broker.watch.pid is None
    held = f"dramatiq:__acks__.{broker.broker_id}.q"
    beats = set()

    def lives_on() -> bool:
        beats.add(broker.client.zscore("dramatiq:__heartbeats__", broker.broker_id))
        return len(beats) > 12  # longer than the heartbeat timeout

    eventually(lives_on, what="signs of life")
    assert broker.client.scard(held) == 1
    assert caplog.text.count("No watcher can be started") == 1
