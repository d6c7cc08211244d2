"""Pictures for the command line: what those of a plan and of a simulation have in common."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from littleq.errors import ConfigurationError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Colours that the colour-blind can tell apart (Okabe and Ito), LittleQ's first.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches.

    Raises:
        ConfigurationError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra of its own, and slow to import
    except ImportError:
        raise ConfigurationError("--plot needs matplotlib: pip install 'littleq[plot]'.") from None
    return Figure(figsize=(width, height), layout="constrained")


def tidy(panel: Axes) -> None:
    """A faint grid, and no frame where no axis is."""
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG, SVG or PDF, by the ending of `path`.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0].rstrip(".")
        raise ConfigurationError(
            f"The picture {path} cannot be written ({reason}): name a PNG, SVG or PDF."
        ) from None
