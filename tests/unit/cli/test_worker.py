"""`littleq worker` up to the moment when it becomes `dramatiq`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

from littleq.cli.worker import dramatiq_command

Littleq = Callable[..., Any]

APP = """
import dramatiq
from dramatiq.brokers.stub import StubBroker
broker = StubBroker()
dramatiq.set_broker(broker)

@dramatiq.actor(queue_name="mail")
def send() -> None: ...

@dramatiq.actor(queue_name="report")
def report() -> None: ...
"""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """Command lines and environments that would have been run."""
    calls: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda _, command, environ: calls.append((command, environ)))
    return calls


def test_it_runs_dramatiq_with_this_python(littleq: Littleq, app: Any, started: list[Any]) -> None:
    app(APP)
    args = ("worker", "app_under_test", "-q", "mail", "--queue", "report", "--concurrency", "4", "-p", "2")
    assert littleq(*args).code == 0
    assert started[0][0] == [
        *(sys.executable, "-m", "littleq.lifecycle.launch", "app_under_test"),
        *("--queues", "mail", "report", "--threads", "4", "--processes", "2"),
    ]


def test_the_server_goes_into_the_environment_not_the_command_line(
    littleq: Littleq, app: Any, started: list[Any]
) -> None:
    """Others on the machine can read a command line."""
    app(APP)
    littleq("worker", "app_under_test", "--redis", "me:hunter2@db:6379")
    command, environ = started[0]
    assert environ["LITTLEQ_URL"] == "redis://me:hunter2@db:6379"
    assert "hunter2" not in " ".join(command)


def test_what_stands_after_the_dashes_is_dramatiq_s(littleq: Littleq, app: Any, started: list[Any]) -> None:
    app(APP)
    littleq("worker", "app_under_test", "--", "--watch", ".", "--verbose")
    assert started[0][0][-7:] == ["--threads", "8", "--processes", "1", "--watch", ".", "--verbose"]


def test_the_default_module_is_actors(littleq: Littleq, app: Any, started: list[Any], tmp_path: Any) -> None:
    (tmp_path / "actors.py").write_text(APP)
    sys.modules.pop("actors", None)
    try:
        assert littleq("worker").code == 0
    finally:
        sys.modules.pop("actors", None)
    assert started[0][0][3] == "actors"


def test_a_queue_named_twice_is_served_once() -> None:
    command = dramatiq_command(("app",), ("mail", "mail"), 1, 1, None, ())
    assert command.count("mail") == 1


@pytest.mark.parametrize(
    ("source", "args", "says"),
    [
        (APP, ("nowhere",), "No module is called 'nowhere' in "),
        (APP, ("nowhere.at.all",), "No module is called 'nowhere.at.all' in "),
        (APP, ("app_under_test", "also_nowhere"), "No module is called 'also_nowhere' in "),
        (APP, ("app_under_test", "-q", "mial"), "No queue is called 'mial'; known queues: mail, report."),
        (APP, ("app_under_test:brokre",), "'app_under_test:brokre' names nothing"),
        (APP, ("app_under_test", "-c", "0"), "'0' is not a whole number from 1 up"),
        (APP, ("app_under_test", "--redis", "db:"), "'db:' is no address"),
        (APP, ("app_under_test", "--config", "nowhere.toml"), "nowhere.toml does not exist"),
        (
            "import nowhere",
            ("app_under_test",),
            "Importing 'app_under_test' failed (ModuleNotFoundError: No module",
        ),
        ("1/0", ("app_under_test",), "failed (ZeroDivisionError: division by zero): run `python -c"),
        ("raise OSError('redis://me:hunter2@db')", ("app_under_test",), "redis://***@db"),
        ("", ("app_under_test",), "declares no actor"),
    ],
)
def test_bad_input_is_one_sentence_and_starts_nothing(
    *, littleq: Littleq, app: Any, started: list[Any], source: str, args: tuple[str, ...], says: str
) -> None:
    app(source)
    answer = littleq("worker", *args)
    assert answer.code == 2
    assert says in answer.err
    assert answer.err.count("\n") == 1
    assert started == []


def test_a_broker_may_be_named(littleq: Littleq, app: Any, started: list[Any]) -> None:
    app(APP + "\ndef make() -> None:\n    dramatiq.set_broker(broker)\n")
    assert littleq("worker", "app_under_test:broker").code == 0
    assert littleq("worker", "app_under_test:make").code == 0
    assert [command[3] for command, _ in started] == ["app_under_test:broker", "app_under_test:make"]


def test_an_app_that_connects_elsewhere_is_not_run_against_the_wrong_server(
    littleq: Littleq, app: Any, started: list[Any]
) -> None:
    app(
        "import dramatiq\nfrom dramatiq.brokers.redis import RedisBroker\n"
        "dramatiq.set_broker(RedisBroker(url='redis://:hunter2@elsewhere:6379'))\n"
        "@dramatiq.actor\ndef send() -> None: ...\n"
    )
    answer = littleq("worker", "app_under_test", "--redis", "here:6379")
    assert answer.code == 2
    assert (
        "--url asks for redis://here:6379, but the module 'app_under_test' connects to another" in answer.err
    )
    assert "hunter2" not in answer.err
    for other in ("redis://elsewhere:6379/5", "valkey://here:6379", "unix:///tmp/v.sock"):
        assert littleq("worker", "app_under_test", "--redis", other).code == 2
    assert littleq("worker", "app_under_test", "--redis", "elsewhere").code == 0
