"""The Lua scripts of this folder, as text."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def lua(name: str) -> str:
    """The script `name`.lua."""
    return files(__package__).joinpath(f"{name}.lua").read_text(encoding="utf-8")
