"""`exporter_token` is a secret: no message, repr or table shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from littleq.config import Config
from littleq.config.report import describe_config, to_toml
from littleq.errors import ConfigurationError
from tests.unit.config.support import loaded, write

SECRET = "hunter2-0f-the-house"


def test_it_comes_from_a_variable_and_is_shown_nowhere(folder: Path) -> None:
    found = loaded(folder, {"LITTLEQ_EXPORTER_TOKEN": SECRET})
    assert found.config.exporter_token == SECRET
    settings = list(describe_config(found))
    shown = f"{settings} {to_toml(settings)} {found!r}"
    assert SECRET not in shown
    assert 'token = "***"  # LITTLEQ_EXPORTER_TOKEN' in shown


def test_it_comes_from_a_file_too(folder: Path) -> None:
    write(folder, f'[exporter]\ntoken = "{SECRET}"')
    assert loaded(folder).config.exporter_token == SECRET


def test_an_empty_one_is_none(folder: Path) -> None:
    """A Secret may be there and hold nothing; a file may say so."""
    write(folder, '[exporter]\ntoken = ""')
    assert loaded(folder).config.exporter_token is None
    assert loaded(folder, {"LITTLEQ_EXPORTER_TOKEN": "  "}).config.exporter_token is None
    settings = list(describe_config(loaded(folder)))
    assert "# token is not set" in to_toml(settings)


@pytest.mark.parametrize("value", [8675309, f"{SECRET} x", f"{SECRET}\nx", f"{SECRET}é", [SECRET]])
def test_a_wrong_one_is_refused_without_being_quoted(value: Any) -> None:
    """What cannot be sent in a header could never be matched."""
    with pytest.raises(ConfigurationError) as caught:
        Config(exporter_token=value)
    told = str(caught.value)
    assert told.startswith("Config exporter_token is ***: it must be a text of visible ASCII characters")
    assert SECRET not in told and "8675309" not in told


def test_what_config_show_printed_is_no_token() -> None:
    with pytest.raises(ConfigurationError, match=r"exporter_token is \*\*\*, as messages hide it"):
        Config(exporter_token="***")
