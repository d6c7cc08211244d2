"""Background work: nobody waits for one result, but the whole must be done in time.

The files are real ones that every machine has: the largest modules of Python's own standard library.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import lzma
import sysconfig
from pathlib import Path

import dramatiq

logger = logging.getLogger(__name__)

#: The eight largest have 100 to 750 kB: 40 to 400 ms to compress, as uneven as real work is.
COUNT = 8


@functools.cache
def _largest() -> list[Path]:
    """The same list in every process: equal sizes are ordered by path."""
    root = Path(sysconfig.get_paths()["stdlib"])
    modules = (*root.glob("*.py"), *root.glob("*/*.py"))
    own = [path for path in modules if path.parent.name not in {"site-packages", "test"}]  # not everywhere
    return sorted(own, key=lambda path: (-path.stat().st_size, path))[:COUNT]


def module(number: int) -> Path:
    """Source file `number`, modulo `COUNT`."""
    return _largest()[number % COUNT]


@dramatiq.actor(queue_name="batch")
def checksum(number: int = 0) -> None:
    """SHA-256 of a module."""
    with module(number).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    logger.debug("%s  %s", digest, module(number))


@dramatiq.actor(queue_name="batch")
def compress(number: int = 0) -> None:
    """Compress a module as hard as LZMA can, and prove that it comes back.

    Raises:
        RuntimeError: it does not.
    """
    content = module(number).read_bytes()
    packed = lzma.compress(content, preset=lzma.PRESET_DEFAULT | lzma.PRESET_EXTREME)
    if lzma.decompress(packed) != content:
        raise RuntimeError(f"{module(number)} differs after compression: check this machine's memory")
    logger.debug("%s: %d bytes, %d packed", module(number), len(content), len(packed))
