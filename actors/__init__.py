"""The reference app: `dramatiq actors` runs its workers, `littleq.toml` states its service levels.

This is what an app with LittleQ looks like: one call sets the broker up, the actors are plain Dramatiq.
They do real work, so that what LittleQ measures, predicts and scales is a real load.
"""

import littleq

broker = littleq.setup()  # first: `@dramatiq.actor` binds an actor to the broker that is set by then

from dramatiq.middleware import CurrentMessage  # noqa: E402

broker.add_middleware(CurrentMessage())  # an app's own middlewares are added as ever

from actors import scaling as scaling  # noqa: E402 - the periodic actor, not for anybody to send to
from actors.files import checksum, compress  # noqa: E402
from actors.flaky import call_partner, import_row  # noqa: E402
from actors.images import RenderPhotos, thumbnail  # noqa: E402

broker.add_middleware(RenderPhotos())

__all__ = ["broker", "call_partner", "checksum", "compress", "import_row", "thumbnail"]
