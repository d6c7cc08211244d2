"""`python -m examples.demo [--broker redis] [--seconds 26]`, from the root of the repository."""

from __future__ import annotations

import argparse
import sys
import time

from examples.demo.servers import BROKERS
from examples.demo.stopping import StopSwitch


def main() -> None:
    """Run the demo; does not return."""
    began = time.monotonic()
    switch = StopSwitch()
    switch.listen()  # first of all: the imports below take a second
    parser = argparse.ArgumentParser(
        prog="python -m examples.demo", description="LittleQ in a minute, or a little more."
    )
    parser.add_argument(
        "--seconds",
        type=seconds,
        metavar="N",
        help="how long jobs are sent to each of the two pools (default: 26)",
    )
    parser.add_argument("--broker", choices=BROKERS, default=BROKERS[0], help="default: %(default)s")
    arguments = parser.parse_args()
    try:
        from examples.demo.story import tell  # noqa: PLC0415
    except ImportError as error:
        sys.stderr.write(f"The demo needs {error.name}: pip install 'littleq[demo]', or run make demo\n")
        sys.exit(1)
    tell(arguments.seconds, arguments.broker, switch, began)


def seconds(text: str) -> float:
    value = float(text)
    if not 5 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not between 5 and 3600")
    return value


if __name__ == "__main__":
    main()
