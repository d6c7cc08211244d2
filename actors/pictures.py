"""The photos of the reference app, rendered once: a repository is no place for megabytes of JPEG."""

from __future__ import annotations

import io
import os
import random
import tempfile
from pathlib import Path

from PIL import Image, ImageChops, ImageOps

#: Enough for some variety, few enough to be rendered within the first seconds of a demo.
COUNT = 12
SIZE = (1280, 960)

#: Parts of the Mandelbrot set whose borders are as rich in detail as foliage is.
_VIEWS = ((-2.0, -1.2, 1.2, 1.2), (-0.9, 0.0, -0.5, 0.3), (-1.3, 0.0, -1.1, 0.15), (0.2, 0.4, 0.5, 0.625))


def folder() -> Path:
    """Where photos and thumbnails lie: `LITTLEQ_ACTORS_DIR`, or a private folder among the temporary files.

    Raises:
        PermissionError: somebody else owns the temporary folder, or has access to it.
    """
    if chosen := os.environ.get("LITTLEQ_ACTORS_DIR"):
        path = Path(chosen)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path
    path = Path(tempfile.gettempdir(), f"littleq-actors-{os.getuid()}")
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()  # not stat(): in a shared /tmp anybody can put a link where we look
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{path} must be yours alone (mode 0700): remove it or set LITTLEQ_ACTORS_DIR")
    return path


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: workers that race for it put the same content in its place."""
    path.parent.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)


def photo(number: int) -> Path:
    """The JPEG file of photo `number`, modulo `COUNT`; whoever asks for it first renders it."""
    number %= COUNT
    path = folder() / "photos" / f"{number:02}.jpg"
    if not path.exists():
        buffer = io.BytesIO()
        _render(number).save(buffer, "JPEG", quality=90)
        write(path, buffer.getvalue())
    return path


def _render(number: int) -> Image.Image:
    """A fractal under clouds of noise: as much work to decode as a photo, and the same every time."""
    chance = random.Random(number)
    clouds = Image.new("L", SIZE, 128)
    for grid in ((8, 6), (64, 48), (640, 480)):  # from large soft shapes to the grain of a sensor
        noise = Image.frombytes("L", grid, chance.randbytes(grid[0] * grid[1]))
        clouds = Image.blend(clouds, noise.resize(SIZE, Image.Resampling.BICUBIC), 0.3)
    fractal = Image.effect_mandelbrot(SIZE, _VIEWS[number % len(_VIEWS)], 100)
    dark = tuple(chance.randrange(100) for _ in range(3))
    light = tuple(chance.randrange(150, 250) for _ in range(3))
    return ImageOps.colorize(ImageChops.screen(fractal, clouds), dark, light)
