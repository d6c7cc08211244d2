"""Interactive work: somebody waits for the thumbnail, so its queue promises a short wait."""

from __future__ import annotations

import io
import logging

import dramatiq
from dramatiq.middleware import Middleware
from PIL import Image

from actors.pictures import COUNT, folder, photo, write

logger = logging.getLogger(__name__)


class RenderPhotos(Middleware):
    """The photos exist before a worker takes its first job: no job pays for them, and none breaks its promise."""

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        for number in range(COUNT):
            photo(number)


@dramatiq.actor(queue_name="realtime")
def thumbnail(picture: int = 0, width: int = 160) -> None:
    """Scale photo number `picture` to `width` pixels (>= 1) and store it as WebP.

    The arguments alone name the file, so a job that runs twice, as any job may, leaves the same one file.
    """
    source = photo(picture)
    with Image.open(source) as original:
        height = max(1, round(width * original.height / original.width))
        small = original.resize((width, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP")
    target = folder() / "thumbnails" / f"{source.stem}-{width}.webp"
    write(target, buffer.getvalue())
    logger.debug("%s is %d x %d pixels, %d bytes", target, width, height, buffer.tell())
