"""LittleQ: service levels for Dramatiq task queues.

    import dramatiq, littleq

    littleq.install(dramatiq.get_broker())   # or: littleq.setup(), which builds the broker too

Names are imported when they are used: the maths (`littleq.law`) need no Dramatiq.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from littleq.autoscale.events import SLAEvent as SLAEvent
    from littleq.autoscale.events import on_sla_event as on_sla_event
    from littleq.batches import Sent as Sent
    from littleq.batches import send_many as send_many
    from littleq.config import Config as Config
    from littleq.config import SLAQueueConfig as SLAQueueConfig
    from littleq.config.sources import load_config as load_config
    from littleq.errors import BackendError as BackendError
    from littleq.errors import ConfigurationError as ConfigurationError
    from littleq.errors import LittleQError as LittleQError
    from littleq.errors import UnstableQueueError as UnstableQueueError
    from littleq.errors import ValidationError as ValidationError
    from littleq.middleware.overloaded import Overloaded as Overloaded
    from littleq.stack import install as install
    from littleq.stack import setup as setup

_HOMES = {
    "BackendError": "errors",
    "Config": "config",
    "ConfigurationError": "errors",
    "LittleQError": "errors",
    "Overloaded": "middleware.overloaded",
    "SLAEvent": "autoscale.events",
    "SLAQueueConfig": "config",
    "Sent": "batches",
    "UnstableQueueError": "errors",
    "ValidationError": "errors",
    "install": "stack",
    "load_config": "config.sources",
    "on_sla_event": "autoscale.events",
    "send_many": "batches",
    "setup": "stack",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'littleq' has no attribute {name!r}")
    value = getattr(import_module(f"littleq.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
