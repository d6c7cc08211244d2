"""An exception as text, whatever it does when it is looked at.

Formatting one runs foreign code (`__str__`) and, to place its carets, a parser that fails now and then when several
threads use it at once (python/cpython#106905, Python 3.11). Raised in a hook, such an error would cost a job its retry.
"""

from __future__ import annotations

import traceback


def formatted(exception: BaseException, frames: int) -> str:
    """Its traceback; `frames` as the `limit` of the standard library: > 0 the outermost, < 0 the innermost."""
    try:
        return "".join(traceback.format_exception(exception, limit=frames))
    except Exception:
        places = traceback.extract_tb(exception.__traceback__, limit=frames)
        lines = [f'  File "{place.filename}", line {place.lineno}, in {place.name}\n' for place in places]
        return "".join(["Traceback (most recent call last):\n", *lines, f"{qualified_name(exception)}\n"])


def message(exception: BaseException, characters: int) -> str:
    """What it says, at most so many characters of it."""
    try:
        return str(exception)[:characters]
    except Exception:
        return f"<{type(exception).__qualname__} that cannot be shown>"


def qualified_name(exception: BaseException) -> str:
    """`package.module.Error`."""
    cls = type(exception)
    return f"{cls.__module__}.{cls.__qualname__}"
