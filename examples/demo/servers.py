"""A server of another broker than Redis, for the length of a demo: `python -m examples.demo.servers BROKER FOLDER`.

The program starts it, says where it is in a line of JSON, and ends it when its standard input is closed: by the demo,
or by the end of the demo, however that comes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from examples.demo.stopping import StopSwitch

BROKERS = ("redis", "rabbitmq", "sqs", "kafka")
#: In words, for the screen.
TITLES = {
    "rabbitmq": "RabbitMQ",
    "sqs": "moto, which speaks SQS's protocol",
    "kafka": "tansu, which speaks Kafka's protocol",
}
#: Most workers of `realtime`, each of one thread; and a topic has as many partitions.
MOST_WORKERS = 8
#: Until a server has ended, in seconds.
END_SECONDS = 15.0


class Server:
    """The demo's side: the program below, and what it said.

    Attributes:
        url: of the broker.
        environment: what its clients need besides the URL.

    Raises:
        OSError: the server did not start; what it said is in the message.
    """

    def __init__(self, broker: str, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, broker, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            start_new_session=True,  # Ctrl-C means the demo, which ends the server last
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        line = self._process.stdout.readline()
        if not line:
            raise OSError(f"{TITLES[broker]} did not start: {self._process.stderr.read()[-2000:]}")
        said: dict[str, Any] = json.loads(line)
        self.url: str = said["url"]
        self.environment: dict[str, str] = said["environment"]

    def stop(self) -> None:
        """End it. May be called again."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(END_SECONDS)


def main() -> None:
    broker, folder = sys.argv[1], Path(sys.argv[2])
    StopSwitch().listen()  # a signal is for the demo
    folder.mkdir()
    url, environment, stop = _STARTS[broker](folder)
    try:
        print(json.dumps({"url": url, "environment": environment}), flush=True)
        sys.stdin.read()
    finally:
        stop()


# The servers are those of the tests; each brings a client of its own.


def _rabbitmq(folder: Path) -> Started:
    from tests.brokers.rabbitmq import RabbitServer  # noqa: PLC0415

    server = RabbitServer(folder / "node").start()
    return server.url, {}, server.kill


def _sqs(folder: Path) -> Started:
    from tests.brokers.sqs import CREDENTIALS, MotoServer  # noqa: PLC0415

    server = MotoServer(folder).start()
    return server.url(), {**CREDENTIALS, "AWS_EC2_METADATA_DISABLED": "true"}, server.stop


def _kafka(folder: Path) -> Started:
    from tests.brokers.kafka import SESSION, Tansu  # noqa: PLC0415

    server = Tansu(folder).start()
    options = f"{SESSION}&batch.num.messages=1&littleq.partitions={MOST_WORKERS}"
    return f"kafka://127.0.0.1:{server.port}?{options}", {}, server.kill


#: URL, what clients need besides, and how it ends.
Started = tuple[str, dict[str, str], Callable[[], None]]
_STARTS: dict[str, Callable[[Path], Started]] = {"rabbitmq": _rabbitmq, "sqs": _sqs, "kafka": _kafka}

if __name__ == "__main__":
    main()
