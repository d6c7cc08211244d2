"""The reference app, imported as `dramatiq actors` imports it, on a broker in memory."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import dramatiq.broker
import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """A fresh `actors`. Its broker, path and environment are gone with the test module that asked for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # for littleq.toml
        patch.syspath_prepend(str(ROOT))
        patch.setenv("LITTLEQ_URL", "stub://")
        patch.setenv("LITTLEQ_ACTORS_DIR", str(tmp_path_factory.mktemp("actors")))
        patch.setattr(dramatiq.broker, "global_broker", None)
        try:
            yield importlib.import_module("actors")
        finally:
            for name in [name for name in sys.modules if name.partition(".")[0] == "actors"]:
                del sys.modules[name]
