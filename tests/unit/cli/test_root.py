"""What `littleq` says when things go wrong, and with which exit code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import click
import pytest

import littleq as package
from littleq.cli import root
from littleq.errors import BackendError


def raising(error: BaseException) -> click.Command:
    @click.command()
    def audit() -> None:
        raise error

    return audit


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Let `littleq audit` raise an error."""

    def arrange(error: BaseException) -> None:
        monkeypatch.setattr(root.LazyGroup, "get_command", lambda *_: raising(error))

    return arrange


def test_the_version_is_the_package_s(littleq: Callable[..., Any]) -> None:
    assert littleq("--version").out == f"littleq {package.__version__}\n"


def test_the_help_names_every_command(littleq: Callable[..., Any]) -> None:
    answer = littleq("--help")
    assert answer.code == 0
    for name, (_, text) in root.COMMANDS.items():
        assert name in answer.out
        assert text in answer.out


@pytest.mark.parametrize("name", root.COMMANDS)
def test_every_command_has_a_help(littleq: Callable[..., Any], name: str) -> None:
    answer = littleq(name, "--help")
    assert answer.code == 0
    assert answer.out.startswith(f"Usage: littleq {name}")
    assert "--help" in answer.out


def test_the_help_imports_no_broker() -> None:
    code = (
        "import sys; from littleq.cli.root import run; run(['--help']);"
        "heavy = {'dramatiq', 'redis', 'pydantic', 'rich'} & set(sys.modules); sys.exit(bool(heavy))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (BackendError("The broker is of no known kind."), "The broker is of no known kind."),
        (ConnectionRefusedError("nobody listens"), "cannot be used (nobody listens): start it"),
        (click.UsageError("That is not it"), "That is not it."),
        (click.ClickException("No accounts."), "No accounts."),
    ],
)
def test_an_error_that_is_no_bug_is_one_sentence_and_exit_code_2(
    littleq: Callable[..., Any], fails: Callable[[BaseException], None], error: Exception, says: str
) -> None:
    fails(error)
    answer = littleq("audit")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("littleq: ")
    assert says in answer.err
    assert answer.err.count("\n") == 1


def test_redis_errors_are_connection_errors(
    littleq: Callable[..., Any], fails: Callable[[BaseException], None]
) -> None:
    from redis import exceptions as redis

    from littleq.ledger.base import LedgerUnavailable

    for kind in (redis.AuthenticationError, redis.BusyLoadingError, redis.TimeoutError, LedgerUnavailable):
        fails(kind(""))
        answer = littleq("audit")
        assert answer.code == 2
        assert f"({kind.__name__})" in answer.err


@pytest.mark.parametrize("kind", [BackendError, ConnectionError, click.UsageError, click.ClickException])
def test_no_message_holds_a_secret(
    littleq: Callable[..., Any], fails: Callable[[BaseException], None], kind: type[Exception]
) -> None:
    fails(kind("cannot reach redis://me:hunter2@db:6379/0?password=hunter2 now"))
    answer = littleq("audit")
    assert "hunter2" not in answer.err
    assert "redis://***@db:6379/0?password=*** now" in answer.err


def test_a_secret_given_in_the_wrong_place_is_not_repeated(littleq: Callable[..., Any]) -> None:
    answer = littleq("monitor", "redis://me:hunter2@db:6379")
    assert answer.code == 2
    assert "hunter2" not in answer.err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_ctrl_c_exits_with_130_and_says_nothing(
    littleq: Callable[..., Any], fails: Callable[[BaseException], None], error: BaseException
) -> None:
    fails(error)
    answer = littleq("audit")
    assert (answer.code, answer.err.strip()) == (130, "")


def test_a_bug_keeps_its_traceback(
    littleq: Callable[..., Any], fails: Callable[[BaseException], None]
) -> None:
    from redis.exceptions import ResponseError

    for bug in (ZeroDivisionError(), ResponseError("ERR in a script")):
        fails(bug)
        with pytest.raises(type(bug)):
            littleq("audit")


def test_a_reader_that_has_gone_is_no_error() -> None:
    code = "from littleq.cli import main; import sys; sys.argv = ['littleq', '--help']; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == root.PIPE_CLOSED


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_there_is_one_sentence(missing: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None; sys.argv = ['littleq'];"
        "from littleq.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"littleq: the command line needs {missing}: pip install 'littleq[cli]'\n"


def test_an_unknown_command_is_a_usage_error(littleq: Callable[..., Any]) -> None:
    answer = littleq("wroker")
    assert answer.code == 2
    assert "No such command 'wroker'" in answer.err
