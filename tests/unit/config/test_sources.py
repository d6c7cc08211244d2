"""Sources: which wins, how each is spelled, what each refuses, and that nothing is lost on the way."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from littleq.config import Config, SLAQueueConfig
from littleq.config.sources import DEFAULT, load, load_config
from tests.unit.config.support import loaded, refusal, write

DOCS = Path(__file__).parents[3] / "docs" / "configuration.md"
Q = "LITTLEQ_QUEUES__REALTIME__"


# Precedence ----------------------------------------------------------------------------------------


def test_nothing_configured_gives_the_defaults(folder: Path) -> None:
    found = loaded(folder)
    assert found.config == Config() and found.files == () and found.origin(("url",)) == DEFAULT


#: One source a step, lowest first: each sets `sla_seconds` of `realtime` and one that nobody else sets.
STEPS = [
    ("pyproject.toml", 2.0, "percentile", 90.0),
    ("littleq.toml", 3.0, "max_retries", 3),
    (f"{Q}SLA_SECONDS", 4.0, "max_workers", 4),
    ("Python", 5.0, "jobs_per_worker", 5),
]


@pytest.mark.parametrize(
    "steps", [[s for i, s in enumerate(STEPS) if mask >> i & 1] for mask in range(1, 16)]
)
def test_the_highest_source_wins_and_lower_ones_still_count(folder: Path, steps: list[Any]) -> None:
    environ, overrides = {}, {}
    for source, sla, other, value in steps:
        settings = f"sla_seconds = {sla}\n{other} = {value}\n"
        if source == "pyproject.toml":
            write(folder, f"[tool.littleq.queues.realtime]\n{settings}", source)
        elif source == "littleq.toml":
            write(folder, f"[queues.realtime]\n{settings}")
        elif source == "Python":
            overrides = {"queues": {"realtime": {"sla_seconds": sla, other: value}}}
        else:
            environ = {source: str(sla), f"{Q}{other.upper()}": str(value)}
    found = loaded(folder, environ, overrides=overrides)
    queue = found.config.queues["realtime"]
    assert queue.sla_seconds == steps[-1][1]
    assert found.origins["queues.realtime.sla_seconds"] == steps[-1][0]
    for source, _, other, value in steps:
        assert getattr(queue, other) == value
        origin = f"{Q}{other.upper()}" if source.startswith(Q) else source
        assert found.origin(("queues", "realtime", other)) == origin


def test_sources_are_merged_queue_by_queue_and_entry_by_entry(folder: Path) -> None:
    write(
        folder,
        '[tool.littleq.queues.a]\nretry_routes = {ValueError="dead", OSError="skip"}',
        "pyproject.toml",
    )
    write(folder, '[queues.b]\n[queues.a.retry_routes]\nOSError="retry"\n"shop.Refused"="dead"')
    found = loaded(folder)
    assert set(found.config.queues) == {"a", "b"}
    assert found.config.queues["a"].retry_routes == {
        "ValueError": "dead",
        "OSError": "retry",
        "shop.Refused": "dead",
    }
    assert found.origins["queues.a.retry_routes.OSError"] == "littleq.toml"
    assert found.origins['queues.a.retry_routes."shop.Refused"'] == "littleq.toml"
    assert found.origins["queues.a.retry_routes.ValueError"] == "pyproject.toml"


def test_of_a_queue_made_in_python_only_what_was_given_counts(folder: Path) -> None:
    write(folder, "[queues.realtime]\npercentile = 90\nmax_workers = 3")
    queue = SLAQueueConfig("realtime", arrival_rate=20, max_workers=10)
    for queues in ([queue], {"realtime": queue}, (q for q in [queue])):
        found = loaded(folder, overrides={"queues": queues}).config.queues["realtime"]
        assert (found.arrival_rate, found.percentile, found.max_workers) == (20.0, 90.0, 10)


def test_python_can_take_a_setting_back(folder: Path) -> None:
    write(folder, "[queues.a]\narrival_rate = 3")
    overrides = {"queues": {"a": {"arrival_rate": None}}}
    assert loaded(folder, overrides=overrides).config.queues["a"].arrival_rate is None


def test_load_config_reads_the_process_environment_and_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in [name for name in os.environ if name.startswith("LITTLEQ_")]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LITTLEQ_NAMESPACE", "shop")
    write(folder, "[exporter]\nport = 9000")
    config = load_config()
    assert (config.namespace, config.exporter_port) == ("shop", 9000)
    assert load_config(environ={}, overrides={"namespace": "x"}).namespace == "x"


# Files ---------------------------------------------------------------------------------------------


def test_the_nearest_folder_with_a_file_wins_and_stops_the_search(folder: Path) -> None:
    far = write(folder, "namespace = 'far'\nflush_seconds = 9")
    inner = folder / "a" / "b"
    inner.mkdir(parents=True)
    assert loaded(inner).config.namespace == "far"
    assert loaded(inner).origins["namespace"] == str(far)
    write(folder / "a", "[tool.littleq]\nnamespace = 'near'", "pyproject.toml")
    assert (loaded(inner).config.namespace, loaded(inner).config.flush_seconds) == ("near", 1.0)


def test_a_pyproject_of_others_does_not_stop_the_search(folder: Path) -> None:
    write(folder, "namespace = 'far'")
    write(folder / "a", "[project]\nname = 'x'\n[tool.ruff]\nline-length = 1", "pyproject.toml")
    assert loaded(folder / "a").config.namespace == "far"


def test_a_named_file_is_the_only_one_read(folder: Path) -> None:
    write(folder, "namespace = 'found'\nflush_seconds = 9")
    named = write(folder / "etc", "namespace = 'named'", "other.toml")
    second = write(folder / "etc", "[tool.littleq]\nnamespace = 'second'", "pyproject.toml")
    by_variable = loaded(folder, {"LITTLEQ_CONFIG": str(named)})
    assert (by_variable.config.namespace, by_variable.config.flush_seconds) == ("named", 1.0)
    assert by_variable.origins["namespace"] == str(named)
    assert loaded(folder, {"LITTLEQ_CONFIG": str(named)}, path=second).config.namespace == "second"
    assert loaded(folder, {"LITTLEQ_CONFIG": " "}).config.namespace == "found"


def test_a_deleted_current_folder_holds_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = folder / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert load(environ={}).files == ()


def test_a_file_with_a_byte_order_mark_and_windows_lines_is_read(folder: Path) -> None:
    (folder / "littleq.toml").write_bytes(b"\xef\xbb\xbfnamespace = 'x'\r\n[queues.a]\r\n")
    assert loaded(folder).config.namespace == "x"


@pytest.mark.parametrize(
    ("text", "beginning", "piece"),
    [
        ("url = ", "littleq.toml is not valid TOML: invalid value (at line 1", "correct that line"),
        ("a = 1\na = 2", "littleq.toml is not valid TOML:", "line 2"),
        ("a = " + "9" * 5000, "littleq.toml is not valid TOML: exceeds the limit", ""),
        ("queues = 5", "littleq.toml queues is 5: it must be a table of queues", "[queues.NAME]"),
        ("[[queues]]\nname='a'", "littleq.toml queues is [{'name': 'a'}]: it must be a table of queues", ""),
        ("[queues]\na = 5", "littleq.toml [queues] a is 5: it must be a table of settings", "[queues.a]"),
        ("[queue.a]", "littleq.toml queue is not a setting: use queues,", ""),
        ("redis_url = 'x'", "littleq.toml redis_url is not a setting: use url,", ""),
        ("exporter_port = 1", "littleq.toml exporter_port is not a setting: write port under [exporter]", ""),
        ("exporter = 1", "littleq.toml exporter is 1: it must be a table", "[exporter]"),
        ("[exporter]\nprot = 1", "littleq.toml [exporter] prot is not a setting: use port,", ""),
        ("[exporter]\nport = 'x'", "littleq.toml [exporter] port is 'x': it must be a whole number", "65535"),
        (
            "[queues.realtime]\nsla_second = 1",
            "littleq.toml [queues.realtime] sla_second is not a setting: use",
            "",
        ),
        (
            "[queues.realtime]\nsla_seconds = 0",
            "littleq.toml [queues.realtime] sla_seconds is 0: it must",
            "> 0",
        ),
        ("[queues.realtime]\nsla_seconds = '1'", "littleq.toml [queues.realtime] sla_seconds is '1':", "> 0"),
        (
            "[queues.realtime]\nsla_seconds = true",
            "littleq.toml [queues.realtime] sla_seconds is True:",
            "> 0",
        ),
        (
            "[queues.realtime]\nsla_seconds = 2020-01-01",
            "littleq.toml [queues.realtime] sla_seconds is an",
            "date",
        ),
        ("[queues.a]\nname = 'b'", "littleq.toml [queues.a] name is 'b': it must be 'a', its key", ""),
        ("[queues.mail.bulk]\n", "littleq.toml [queues.mail] bulk is not a setting", '[queues."mail.bulk"]'),
        ("[queues.1st]\n", "littleq.toml [queues] 1st is '1st': it must be a queue name", ""),
        (
            "[queues.a]\nretry_routes = 1",
            "littleq.toml [queues.a] retry_routes is 1: it must be a table from",
            "",
        ),
        (
            "[queues.a.retry_routes]\nx.Y = 'dead'",
            "littleq.toml [queues.a.retry_routes] x is a table:",
            "quotes",
        ),
        (
            "[queues.a.retry_routes]\nY = 'die'",
            "littleq.toml [queues.a.retry_routes] Y is 'die': it must",
            "dead",
        ),
        ("[queues.a]\nadmission = 'contract'", "littleq.toml [queues.a] admission is 'contract', but", ""),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(folder: Path, text: str, beginning: str, piece: str) -> None:
    write(folder, text)
    sentence = refusal(folder)
    assert sentence.startswith(beginning) and piece in sentence


def test_in_pyproject_the_place_is_the_full_table(folder: Path) -> None:
    write(folder, "[tool.littleq]\nurll = ''\n[tool.littleq.queues.'a.b']\nsla_seconds = 0", "pyproject.toml")
    sentence = refusal(folder)
    assert "pyproject.toml [tool.littleq] urll is not a setting: use url" in sentence
    assert 'pyproject.toml [tool.littleq.queues."a.b"] sla_seconds is 0:' in sentence


@pytest.mark.parametrize("text", ["tool = 1", "[tool]\nlittleq = 1"])
def test_a_pyproject_whose_tables_are_none_is_refused(folder: Path, text: str) -> None:
    write(folder, text, "pyproject.toml")
    assert "is 1: it must be a table" in refusal(folder)


def test_a_named_file_must_be_one(folder: Path) -> None:
    variable = {"LITTLEQ_CONFIG": str(folder / "none.toml")}
    assert refusal(folder, variable).startswith("environment variable LITTLEQ_CONFIG is '")
    assert "does not exist" in refusal(folder, variable)
    assert "is a folder" in refusal(folder, path=folder)
    other = write(folder, "[project]", "pyproject.toml")
    assert "has no [tool.littleq] table" in refusal(folder, path=other)


def test_a_file_that_is_not_text_is_refused(folder: Path) -> None:
    (folder / "littleq.toml").write_bytes(b"namespace = '\xff'")
    assert refusal(folder).startswith("littleq.toml is not UTF-8 text (byte 13)")


def test_a_file_that_may_not_be_read_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    write(folder, "")
    monkeypatch.setattr(Path, "read_bytes", refuse)  # root may read everything, so a mode would not do
    assert "cannot be read (Permission denied)" in refusal(folder)


# Python --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "beginning"),
    [
        ({"urll": "x"}, "Python: urll is not a setting: use url"),
        ({"url": "x"}, "Python: url is 'x': it must be a URL"),
        ({"queues": 5}, "Python: queues is 5: it must be a table of queues"),
        ({"queues": ["a"]}, "Python: queues is ['a']: it must be a table of queues"),
        ({"queues": {"a": {"sla_seconds": "1"}}}, "Python: queues.a.sla_seconds is '1':"),
        ({"queues": {"a": SLAQueueConfig("b")}}, "Python: queues.a.name is 'b': it must be 'a', its key"),
        ({1: 2}, "Python: 1 is not a setting"),
        ({"queues": [SLAQueueConfig("a"), SLAQueueConfig("a")]}, "Python: queues holds 'a' more than once"),
    ],
)
def test_wrong_overrides_are_refused(folder: Path, overrides: Any, beginning: str) -> None:
    assert refusal(folder, overrides=overrides).startswith(beginning)


def test_a_contradiction_between_sources_names_the_source_to_change(folder: Path) -> None:
    write(folder, "[queues.realtime]\nmax_workers = 2")
    assert refusal(folder, {f"{Q}MIN_WORKERS": "3"}).startswith(
        f"environment variable {Q}MIN_WORKERS is 3: it must be <= max_workers, which is 2"
    )


def test_all_sources_are_told_at_once(folder: Path) -> None:
    write(folder, "nonsense = 1\n[queues.a]\nsla_seconds = 0")
    sentence = refusal(folder, {"LITTLEQ_FOO": "1"}, overrides={"namespace": 3})
    for place in (
        "littleq.toml nonsense",
        "littleq.toml [queues.a] sla_seconds",
        "LITTLEQ_FOO",
        "Python: namespace",
    ):
        assert place in sentence


# Secrets ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("url = 'http://me:hunter2@db'", {}),
        ("ulr = 'redis://me:hunter2@db'", {}),
        ("password = 'hunter2'", {}),
        ("url = ['redis://me:hunter2@db']", {}),
        ("[queues.a]\nsla_seconds = 'redis://me:hunter2@db'", {}),
        ("[queues]\na = {url='redis://me:hunter2@db'}", {}),
        ("url = 'redis://me:hunter2@db", {}),
        ("'redis://me:hunter2@db' = 1", {}),
        ("[queues.'redis://me:hunter2@db']\nsla_seconds = 1", {}),
        ("[queues.a.retry_routes]\n'redis://me:hunter2@db' = 'dead'", {}),
        ("", {"LITTLEQ_URL": "me:hunter2@db"}),
        ("", {"LITTLEQ_PASSWORD": "hunter2"}),
        ("", {"LITTLEQ_CONFIG": "redis://me:hunter2@db"}),
        ("", {f"{Q}RETRY_ROUTES": "redis://me:hunter2@db"}),
    ],
)
def test_no_sentence_holds_a_secret(folder: Path, text: str, environ: dict[str, str]) -> None:
    write(folder, text)
    assert "hunter2" not in refusal(folder, environ)
