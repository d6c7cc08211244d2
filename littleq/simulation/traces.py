"""Trace files: `#` headers, the title row `bin,arrivals`, one row a bin."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from littleq.errors import LittleQError
from littleq.simulation.arrivals import Trace


class TraceError(LittleQError):
    """A trace file does not say what a trace file must, or cannot be written."""


def read_trace(path: Path) -> Trace:
    """Read a trace: `# bin_seconds:` and, if wanted, `# speedup:` headers, then `bin,arrivals` rows.

    The file is read whole before anything is sent: a mistake in its last line must not show after an hour.

    Raises:
        TraceError: naming file, line, the value seen and what is legal.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            return _parse(str(path), lines)
    except OSError as error:
        raise TraceError(
            f"The trace {path} cannot be read ({error.strerror}): give a CSV file with bin,arrivals rows."
        ) from None
    except UnicodeDecodeError:
        raise TraceError(
            f"The trace {path} is not text: give a CSV file with bin,arrivals rows in UTF-8."
        ) from None


def write_trace(path: Path, trace: Trace, *, source: str) -> None:
    """Write a trace that `read_trace` reads; `source` says where it comes from, without secrets.

    Raises:
        TraceError: the file cannot be written.
    """
    head = [f"# source: {source}", f"# bin_seconds: {trace.bin_seconds:.12g}"]
    if trace.speed_up != 1.0:
        head.append(f"# speedup: {trace.speed_up:.12g}")
    rows = (f"{index},{arrivals}" for index, arrivals in trace.bins)
    try:
        path.write_text("\n".join([*head, "bin,arrivals", *rows, ""]), encoding="utf-8")
    except OSError as error:
        raise _unwritable(path, error) from None


def ensure_writable(path: Path) -> None:
    """Make sure that a trace can be written, before hours are spent on what is to be in it.

    Raises:
        TraceError: it cannot.
    """
    is_new = not path.exists()
    try:
        path.open("a").close()
        if is_new:
            path.unlink()
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> TraceError:
    return TraceError(
        f"The trace {path} cannot be written ({error.strerror}): name a file in a folder that can."
    )


def _parse(name: str, lines: TextIO) -> Trace:
    headers: dict[str, float] = {}
    bins: list[tuple[int, int]] = []
    titled = False
    for number, raw in enumerate(lines, start=1):
        line, where = raw.strip(), f"{name}, line {number}"
        if not line:
            continue
        if line.startswith("#"):
            headers.update(_header(where, line))
        elif not titled:
            if [cell.strip() for cell in line.split(",")] != ["bin", "arrivals"]:
                raise TraceError(f"{where}: {_quoted(line)} stands where the title row `bin,arrivals` must.")
            titled = True
        else:
            bins.append(_row(where, line, bins[-1][0] if bins else -1))
    if "bin_seconds" not in headers:
        raise TraceError(f"{name} does not say how wide a bin is: add a line such as `# bin_seconds: 60`.")
    if not any(arrivals for _, arrivals in bins):
        raise TraceError(f"{name} holds no arrivals: give at least one `bin,arrivals` row above 0.")
    return Trace(headers["bin_seconds"], headers.get("speedup", 1.0), tuple(bins))


def _header(where: str, line: str) -> dict[str, float]:
    key, colon, text = line.lstrip("# ").partition(":")
    if not colon or key.strip() not in ("bin_seconds", "speedup"):
        return {}
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise TraceError(f"{where}: {key.strip()} is {_quoted(text.strip())}: give a number above 0.")
    return {key.strip(): value}


def _row(where: str, line: str, last: int) -> tuple[int, int]:
    cells = line.split(",")
    try:
        index, arrivals = (int(cell) for cell in cells)
    except ValueError:
        raise TraceError(
            f"{where}: {_quoted(line)} is not a `bin,arrivals` row: give two whole numbers, as in `12,3`."
        ) from None
    if index <= last:
        raise TraceError(f"{where}: bin {index} comes after bin {last}: give bins from 0 up, rising.")
    if arrivals < 0:
        raise TraceError(f"{where}: bin {index} has {arrivals} arrivals: give 0 or more.")
    return index, arrivals


def _quoted(text: str) -> str:
    """What was seen, short enough for one line."""
    return repr(text if len(text) <= 40 else text[:39] + "…")
