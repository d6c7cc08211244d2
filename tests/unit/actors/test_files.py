from __future__ import annotations

import hashlib
import logging
import re
import sysconfig
from types import ModuleType

import pytest


def _logged(caplog: pytest.LogCaptureFixture) -> str:
    """The one line that the actor itself wrote; Dramatiq frames it with two of its own."""
    (line,) = (record.getMessage() for record in caplog.records if record.name == "actors.files")
    return line


def test_modules_are_real_and_large_and_any_number_names_one(app: ModuleType) -> None:
    count = app.files.COUNT
    modules = [app.files.module(number) for number in range(count)]
    assert len(set(modules)) == count
    for path in modules:
        assert path.is_relative_to(sysconfig.get_paths()["stdlib"])
        assert path.stat().st_size > 50_000
    assert app.files.module(count + 3) == app.files.module(3) == app.files.module(3 - count)


@pytest.mark.parametrize("number", [0, 1, 1_000_003])
def test_a_checksum_is_the_one_that_hashlib_computes(
    app: ModuleType, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "actors.files"):
        assert app.checksum(number) is None
    path = app.files.module(number)
    assert _logged(caplog) == f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}"


def test_a_module_comes_back_from_its_compression_and_was_smaller(
    app: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "actors.files"):
        assert app.compress(2) is None
    size, packed = map(int, re.findall(r"(\d+) (?:bytes|packed)", _logged(caplog)))
    assert size == app.files.module(2).stat().st_size
    assert 0 < packed < size / 2


def test_a_compression_that_lost_something_is_an_error(
    app: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lzma.decompress", lambda _: b"something else")
    with pytest.raises(RuntimeError, match="differs after compression"):
        app.compress(2)
