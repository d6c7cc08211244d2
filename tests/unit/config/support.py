"""How the tests of the settings write files, load them and read a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from littleq.config.sources import Loaded, load
from littleq.errors import ConfigurationError


def write(folder: Path, text: str, name: str = "littleq.toml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def loaded(folder: Path, environ: Mapping[str, str] | None = None, **rest: Any) -> Loaded:
    return load(environ=environ or {}, folder=folder, **rest)


def refusal(folder: Path, environ: Mapping[str, str] | None = None, **rest: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        loaded(folder, environ, **rest)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".")
    return sentence
