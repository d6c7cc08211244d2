"""`littleq scaler` that cannot start: one sentence, exit code 2."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Certificates of a server: one with its key, a key of another, one with a passphrase."""

    def openssl(arguments: str) -> None:
        subprocess.run(["openssl", *arguments.split()], cwd=tmp_path, check=True, capture_output=True)

    for name in ("server", "other"):
        openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
            f"-subj /CN={name} -keyout {name}.key -out {name}.crt"
        )
    openssl("ec -in server.key -aes256 -passout pass:hunter2 -out locked.key")
    (tmp_path / "empty").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--tls-cert", "server.crt"], "--tls-cert and --tls-key go together"),
        (["--client-ca", "server.crt"], "--client-ca goes with TLS"),
        (["--tls-cert", "none.crt", "--tls-key", "server.key"], "none.crt cannot be read (No such file"),
        (["--tls-cert", "server.crt", "--tls-key", "other.key"], "KEY_VALUES_MISMATCH"),
        (["--tls-cert", "server.crt", "--tls-key", "empty"], "are no certificate, key and CA that belong"),
        (
            ["--tls-cert", "server.crt", "--tls-key", "locked.key"],
            "are no certificate, key and CA that belong",
        ),
        (
            ["--tls-cert", "server.crt", "--tls-key", "server.key", "--client-ca", "empty"],
            "are no certificate, key and CA that belong",
        ),
        (["--port", "70000"], "70000 is not in the range"),
    ],
)
def test_wrong_options_and_files_are_one_sentence(
    littleq: Callable[..., Any], files: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], told: str
) -> None:
    monkeypatch.chdir(files)
    answer = littleq("scaler", "--port", "0", "--redis", "127.0.0.1:1", *options)
    assert answer.code == 2 and told in answer.err
    assert answer.err.startswith("littleq: ") and answer.err.count("\n") == 1
    assert "hunter2" not in answer.err and "BEGIN" not in answer.err


def test_a_taken_port_is_one_sentence(littleq: Callable[..., Any]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        answer = littleq("scaler", "--port", str(port), "--redis", "127.0.0.1:1")
    assert answer.code == 2
    assert answer.err.startswith(f"littleq: Cannot listen on 127.0.0.1, port {port}: choose")
    assert answer.err.count("\n") == 1


def test_without_the_extra_it_says_what_to_install(
    littleq: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(("grpc", "littleq.autoscale.keda"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "grpc", None)
    answer = littleq("scaler")
    assert answer.code == 2
    assert "pip install 'littleq[keda]'" in answer.err and answer.err.count("\n") == 1
