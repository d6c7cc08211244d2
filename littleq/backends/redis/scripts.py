"""The Lua scripts of this broker, as text."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def lua(*names: str) -> str:
    """The scripts `names`.lua, one after the other: what they share stands first."""
    folder = files(__package__).joinpath("lua")
    return "\n".join(folder.joinpath(f"{name}.lua").read_text(encoding="utf-8") for name in names)
