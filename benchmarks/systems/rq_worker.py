"""An RQ worker that has imported the job before it forks: what its guide recommends for speed."""

from __future__ import annotations

import sys

from rq import Worker

from benchmarks.systems.rq_app import queue


def main() -> None:
    Worker([queue], name=f"bench{sys.argv[1]}", connection=queue.connection).work(logging_level="ERROR")


if __name__ == "__main__":
    main()
