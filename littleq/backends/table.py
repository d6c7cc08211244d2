"""The table of capabilities in docs/brokers.md, from the brokers themselves.

    python -m littleq.backends.table docs/brokers.md

writes it between its two marks. No server is asked: a broker connects when it is used. All clients must be installed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from littleq.backends import backend_for, build_broker
from littleq.backends.capabilities import Capabilities
from littleq.config import Config

BEGIN, END = "<!-- capabilities: made by `make rendered` -->", "<!-- end of capabilities -->"

#: One of each kind, in the order of the columns.
URLS = (
    "redis://localhost",
    "amqp://localhost",
    "sqs://eu-west-1",
    "kafka://localhost",
    "stub://",
)

#: What each row is called.
ROWS = {
    "bound": "the bound of a queue",
    "order": "order",
    "delay": "delayed jobs",
    "move": "a retry, a dead letter, a replay",
    "recovery": "jobs of a killed process are back",
    "machine_recovery": "jobs of a dead machine are back",
    "restart": "jobs survive a restart of the server",
    "poison": "a job that kills its workers",
    "dead_letters": "dead letters are kept",
    "pause": "pause",
    "cancel": "a delayed job can be cancelled",
    "due_times": "due times are known",
    "fleet_concurrency": "a bound on the whole fleet",
    "batch": "many messages at once",
    "accounts": "accounts",
    "useful_workers": "useful workers",
}

#: Fields of a truth table, in the order in which they are told.
_FIELDS = ("ready", "in_flight", "delayed", "dead", "orphaned", "oldest_age", "next_due")


def known() -> Iterator[Capabilities]:
    """What each kind of broker can be held to, Dramatiq's own RedisBroker second."""
    from dramatiq.brokers.redis import RedisBroker  # noqa: PLC0415 - a column of the table, not a part of it

    for url in URLS:
        yield backend_for(build_broker(Config(url=url))).capabilities
        if url.startswith("redis:"):
            yield backend_for(RedisBroker(url=url)).capabilities


def table(columns: Sequence[Capabilities]) -> str:
    """A Markdown table: a column a broker, a row a fact."""
    rows = [["", *(f"**{each.broker}**" for each in columns)]]
    rows.append(["---"] * len(rows[0]))
    for name, title in ROWS.items():
        rows.append([f"**{title}**", *(each.facts()[name].says for each in columns)])
    rows.append(["**exact in the truth table**", *(_exact(each) for each in columns)])
    rows.append(["**the rest of it**", *(each.truth_says for each in columns)])
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)


def _exact(capabilities: Capabilities) -> str:
    names = [f"`{name}`" for name in _FIELDS if name in capabilities.truth]
    return ", ".join(names) if names else "Nothing."


def filled(page: str) -> str:
    """The page with the table between its marks.

    Raises:
        ValueError: a mark is missing.
    """
    before, found, rest = page.partition(BEGIN)
    _, also_found, after = rest.partition(END)
    if not found or not also_found:
        raise ValueError(f"The page has no place for the table: it stands between {BEGIN} and {END}.")
    return f"{before}{BEGIN}\n\n{table(list(known()))}\n{END}{after}"


def main() -> None:
    """Fill the page that the command line names."""
    path = Path(sys.argv[1])
    path.write_text(filled(path.read_text()))


if __name__ == "__main__":
    main()
