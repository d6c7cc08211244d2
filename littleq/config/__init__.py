"""Settings: what they are (`models`), where they come from (`sources`), and how a wrong one is refused (`messages`)."""

from littleq.config.models import (
    AdmissionMode,
    Config,
    Criticality,
    Jitter,
    OnOverload,
    SLAOn,
    SLAQueueConfig,
)

__all__ = ["AdmissionMode", "Config", "Criticality", "Jitter", "OnOverload", "SLAOn", "SLAQueueConfig"]
