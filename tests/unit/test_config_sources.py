"""Sources: which wins, how each is spelled, what each refuses, and that nothing is lost on the way."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import littleq.config_sources
from littleq.config import Config, SLAQueueConfig
from littleq.config_messages import default_text, legal_values, setting_names
from littleq.config_report import DERIVED, Setting, describe_config, ledger_place, to_toml
from littleq.config_sources import DEFAULT, Loaded, load, load_config
from littleq.errors import ConfigurationError

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"
Q = "LITTLEQ_QUEUES__REALTIME__"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def write(folder: Path, text: str, name: str = "littleq.toml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def loaded(folder: Path, environ: Mapping[str, str] | None = None, **rest: Any) -> Loaded:
    return load(environ=environ or {}, folder=folder, **rest)


def refusal(folder: Path, environ: Mapping[str, str] | None = None, **rest: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        loaded(folder, environ, **rest)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".")
    return sentence


# Precedence --------------------------------------------------------------------------------------------------


def test_nothing_configured_gives_the_defaults(folder: Path) -> None:
    found = loaded(folder)
    assert found.config == Config() and found.files == () and found.origin(("url",)) == DEFAULT


#: One source a step, lowest first: each sets `sla_seconds` of `realtime` and one setting that nobody else sets.
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


# Files -------------------------------------------------------------------------------------------------------


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
        ("queues = 5", "littleq.toml queues is 5: it must be a table of queues", "[queues.NAME]"),
        ("[[queues]]\nname='a'", "littleq.toml queues is [{'name': 'a'}]: it must be a table of queues", ""),
        ("[queues]\na = 5", "littleq.toml [queues] a is 5: it must be a table of settings", "[queues.a]"),
        ("[queue.a]", "littleq.toml queue is not a setting: use queues,", ""),
        ("redis_url = 'x'", "littleq.toml redis_url is not a setting: use url or ledger_url,", ""),
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
        ("[queues.1st]\n", "littleq.toml [queues] 1st name is '1st': it must be a queue name", ""),
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


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(folder: Path) -> None:
    write(folder, "").chmod(0)
    assert "cannot be read (Permission denied)" in refusal(folder)


# Environment -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "text", "setting", "value"),
    [
        ("LITTLEQ_URL", "redis://db", "url", "redis://db"),
        ("LITTLEQ_LEDGER_URL", "memory://", "ledger_url", "memory://"),
        ("LITTLEQ_NAMESPACE", "5", "namespace", "5"),
        ("LITTLEQ_FLUSH_SECONDS", " 2 ", "flush_seconds", 2.0),
        ("LITTLEQ_SAMPLE_SECONDS", "1e-1", "sample_seconds", 0.1),
        ("LITTLEQ_EXPORTER_ENABLED", "Off", "exporter_enabled", False),
        ("LITTLEQ_EXPORTER_ENABLED", "1", "exporter_enabled", True),
        ("LITTLEQ_EXPORTER_HOST", "0.0.0.0", "exporter_host", "0.0.0.0"),
        ("LITTLEQ_EXPORTER_PORT", "0", "exporter_port", 0),
        ("LITTLEQ_NAMESPACE", "", "namespace", "dramatiq"),
    ],
)
def test_text_becomes_a_value_of_the_settings_type(
    folder: Path, variable: str, text: str, setting: str, value: object
) -> None:
    assert getattr(loaded(folder, {variable: text}).config, setting) == value


@pytest.mark.parametrize(
    ("setting", "text", "value"),
    [
        ("SLA_SECONDS", "0.5", 0.5),
        ("sla_seconds", "0.5", 0.5),
        ("MAX_WORKERS", "4", 4),
        ("ON_OVERLOAD", "defer", "defer"),
        ("CRITICALITY_SHARES", "sheddable=0.25, default=1", {"sheddable": 0.25, "default": 1.0}),
        (
            "RETRY_ROUTES",
            "TimeoutError=retry,shop.Refused=dead",
            {"TimeoutError": "retry", "shop.Refused": "dead"},
        ),
    ],
)
def test_a_queue_is_set_by_variables(folder: Path, setting: str, text: str, value: object) -> None:
    queues = loaded(folder, {Q + setting: text}).config.queues
    assert list(queues) == ["realtime"]
    assert getattr(queues["realtime"], setting.lower()) == value


@pytest.mark.parametrize(
    ("spelled", "queue"),
    [
        ("MAIL_BULK", "Mail.bulk"),
        ("mail_bulk", "Mail.bulk"),
        ("HIGH_PRIO", "high-prio"),
        ("A__B", "a__b"),
        ("X_", "x_"),
        ("PY", "py"),
        ("NEW_ONE", "new_one"),
    ],
)
def test_a_variable_finds_the_queue_that_is_configured_elsewhere(
    folder: Path, spelled: str, queue: str
) -> None:
    write(folder, "[queues.'Mail.bulk']\n[queues.high-prio]\n[queues.a__b]\n[queues.x_]\n")
    overrides = {"queues": [SLAQueueConfig("py")]}
    queues = loaded(
        folder, {f"LITTLEQ_QUEUES__{spelled}__MAX_RETRIES": "7"}, overrides=overrides
    ).config.queues
    assert [name for name in queues if queues[name].max_retries == 7] == [queue]


@pytest.mark.parametrize(
    ("variable", "text", "rest"),
    [
        (f"{Q}SLA_SECONDS", "0", "is 0.0: it must be a number of seconds > 0"),
        (f"{Q}SLA_SECONDS", "fast", "is 'fast': it must be a number of seconds > 0"),
        (f"{Q}SLA_SECONDS", "0,5", "is '0,5': it must be a number of seconds > 0"),
        (f"{Q}MAX_WORKERS", "2.5", "is '2.5': it must be a whole number >= 1"),
        (f"{Q}JITTER", "FULL", "is 'FULL': it must be full, equal or decorrelated"),
        (f"{Q}SLA_SECOND", "1", f"is not a setting: use {Q}SLA_SECONDS, or"),
        (f"{Q}NAME", "x", "is not a setting: use"),
        (
            f"{Q}RETRY_ROUTES",
            "TimeoutError",
            "is 'TimeoutError': it must be a table from an exception's name to",
        ),
        (f"{Q}RETRY_ROUTES", "A=die", "is 'die': it must be retry, dead or skip"),
        (f"{Q}CRITICALITY_SHARES", "sheddable=2", "is 2.0: it must be a number > 0 and <= 1"),
        (f"{Q}CRITICALITY_SHARES", "low=1", "is 'low': it must be critical, default or sheddable"),
        (f"{Q}ADMISSION", "contract", "is 'contract', but arrival_rate is not set"),
        ("LITTLEQ_QUEUES__REALTIME", "x", "is not a setting: use one of LITTLEQ_QUEUES__<QUEUE>__NAME"),
        ("LITTLEQ_QUEUES", "x", "is not a setting: use LITTLEQ_QUEUES__<QUEUE>__<SETTING>"),
        ("LITTLEQ_QUEUE__A__SLA_SECONDS", "1", "is not a setting: use LITTLEQ_QUEUES__<QUEUE>__<SETTING>"),
        ("LITTLEQ_EXPORTER_PORT", "no", "is 'no': it must be a whole number >= 0 and <= 65535"),
        ("LITTLEQ_EXPORTER_ENABLED", "maybe", "is 'maybe': it must be true or false"),
        ("LITTLEQ_REDIS_URL", "x", "is not a setting: use LITTLEQ_URL or LITTLEQ_LEDGER_URL"),
        ("LITTLEQ_DATADIR", "x", "is not a setting: use LITTLEQ_DATA_DIR"),
        ("LITTLEQ_URLS", "redis://", "is not a setting: use LITTLEQ_URL,"),
    ],
)
def test_a_wrong_variable_is_refused_with_its_name(folder: Path, variable: str, text: str, rest: str) -> None:
    sentence = refusal(folder, {variable: text})
    if variable == "LITTLEQ_QUEUES__REALTIME":
        rest = "is not a setting: use one of LITTLEQ_QUEUES__<QUEUE>__ARRIVAL_RATE"
    assert sentence.startswith(f"environment variable {variable} {rest}")


def test_a_variable_that_fits_two_queues_is_refused(folder: Path) -> None:
    write(folder, "[queues.a-b]\n[queues.a_b]")
    sentence = refusal(folder, {"LITTLEQ_QUEUES__A_B__SLA_SECONDS": "1"})
    assert "fits more than one queue (a-b, a_b)" in sentence


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("LITTLEQ_DATA_DIR", "/data"),
        ("LITTLEQ_ACTORS_DIR", "/data"),
        ("littleq_url", "x"),
        ("LITTLEQX", "x"),
        ("LITTLEQ_SERVICE_HOST", "10.0.0.1"),
        ("LITTLEQ_SERVICE_PORT", "9191"),
        ("LITTLEQ_SERVICE_PORT_METRICS", "9191"),
        ("LITTLEQ_PORT", "tcp://10.0.0.1:9191"),
        ("LITTLEQ_PORT_9191_TCP", "tcp://10.0.0.1:9191"),
        ("LITTLEQ_PORT_9191_TCP_ADDR", "10.0.0.1"),
        ("LITTLEQ_EXPORTER_SERVICE_HOST", "10.0.0.1"),
        ("LITTLEQ_EXPORTER_PORT", "tcp://10.0.0.1:9191"),
        ("LITTLEQ_EXPORTER_PORT_9191_TCP_PROTO", "tcp"),
    ],
)
def test_what_is_not_ours_is_passed_over(folder: Path, variable: str, text: str) -> None:
    assert loaded(folder, {variable: text}).config == Config()


# Python ------------------------------------------------------------------------------------------------------


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


# Secrets -----------------------------------------------------------------------------------------------------


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
        ("", {"LITTLEQ_URL": "me:hunter2@db"}),
        ("", {"LITTLEQ_PASSWORD": "hunter2"}),
        ("", {"LITTLEQ_CONFIG": "redis://me:hunter2@db"}),
        ("", {f"{Q}RETRY_ROUTES": "redis://me:hunter2@db"}),
    ],
)
def test_no_sentence_holds_a_secret(folder: Path, text: str, environ: dict[str, str]) -> None:
    write(folder, text)
    assert "hunter2" not in refusal(folder, environ)


def test_no_description_holds_a_secret(folder: Path) -> None:
    write(folder, 'url = "redis://me:hunter2@db"\nledger_url = "redis://db?password=hunter2"')
    found = loaded(folder)
    settings = list(describe_config(found))
    assert "hunter2" not in f"{settings} {to_toml(settings)} {ledger_place(found)} {found!r}"


# Description -------------------------------------------------------------------------------------------------


def test_every_setting_is_described_once_with_its_origin(folder: Path) -> None:
    write(folder, "[queues.a]\narrival_rate = 4\nsla_seconds = 0.5\nservice_time_seconds = 2")
    settings = list(describe_config(loaded(folder, {"LITTLEQ_URL": "stub://"})))
    names = [setting.name for setting in settings if setting.origin != DERIVED]
    expected = [name for name in setting_names(Config) if name != "queues"]
    expected += [f"queues.a.{name}" for name in setting_names(SLAQueueConfig) if name != "name"]
    assert names == expected
    assert Setting(("url",), "stub://", "LITTLEQ_URL") in settings
    assert Setting(("queues", "a", "sla_seconds"), 0.5, "littleq.toml") in settings
    assert Setting(("queues", "a", "max_workers"), 10, "default") in settings
    derived = {setting.path[2]: setting.value for setting in settings if setting.origin == DERIVED}
    assert derived == {"admission_mode": "contract", "queue_limit": 2.0, "offered_load": 8.0}


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", ["embedded://", "url from default", "ledger_url is not set", "this machine only"]),
        ("url = 'redis://db'", ["redis://db", "the broker's server, url from littleq.toml"]),
        ("ledger_url = 'redis://db'", ["redis://db (ledger_url from littleq.toml)"]),
        ("url = 'stub://'", ["stub://", "lost at its end"]),
    ],
)
def test_the_ledgers_place_is_told(folder: Path, text: str, pieces: list[str]) -> None:
    write(folder, text)
    told = ledger_place(loaded(folder))
    assert [piece for piece in pieces if piece not in told] == []


positive = st.floats(min_value=0, exclude_min=True, allow_nan=False, allow_infinity=False)
shares = st.floats(min_value=0, max_value=1, exclude_min=True)
names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9._-]*", fullmatch=True)
exceptions = st.from_regex(r"[A-Za-z_é]\w*(\.[A-Za-z_]\w*)?", fullmatch=True)


@st.composite
def queues(draw: st.DrawFn) -> SLAQueueConfig:
    """Any legal service level."""
    name = draw(names)
    rate = draw(st.none() | positive)
    divert_to = draw(st.none() | names.filter(lambda other: other != name))
    backoffs, workers = (
        sorted(draw(st.tuples(positive, positive))),
        sorted(draw(st.tuples(*[st.integers(1)] * 2))),
    )
    return SLAQueueConfig(
        name,
        rate,
        draw(positive),
        draw(st.integers(1)),
        draw(shares),
        draw(st.integers(0)),
        percentile=draw(st.floats(0, 100, exclude_min=True, exclude_max=True)),
        sla_on=draw(st.sampled_from(["wait", "sojourn"])),
        admission=draw(st.sampled_from(["capacity", "off", None, *(["contract"] if rate else [])])),
        on_overload=draw(st.sampled_from(["shed", "defer", *(["divert"] if divert_to else [])])),
        divert_to=divert_to,
        criticality_shares=draw(
            st.dictionaries(st.sampled_from(["critical", "default", "sheddable"]), shares)
        ),
        jitter=draw(st.sampled_from(["full", "equal", "decorrelated"])),
        min_backoff_seconds=backoffs[0],
        max_backoff_seconds=backoffs[1],
        retry_budget=draw(st.floats(0, allow_nan=False, allow_infinity=False)),
        retry_routes=draw(st.dictionaries(exceptions, st.sampled_from(["retry", "dead", "skip"]))),
        concurrency=draw(st.none() | st.integers(1)),
        min_workers=workers[0],
        max_workers=workers[1],
        service_time_seconds=draw(st.none() | positive),
    )


@given(queue=queues())
def test_any_legal_queue_survives_a_round_trip_through_toml(
    queue: SLAQueueConfig, tmp_path_factory: pytest.TempPathFactory
) -> None:
    before = Config(queues={queue.name: queue}, namespace='a "quoted" \x7f one')
    path = tmp_path_factory.getbasetemp() / "round-trip.toml"
    path.write_text(to_toml(describe_config(Loaded(before, (), {}))), encoding="utf-8")
    assert load_config(path=path, environ={}) == before


# The documentation -------------------------------------------------------------------------------------------


def test_the_documented_table_is_the_code() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in DOCS.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `") and line.count("|") == 7
    ]
    documented = [(row[0].strip("`"), row[3], row[4]) for row in rows]
    assert documented == [
        (name, legal_values(model, name), default_text(model, name))
        for model in (Config, SLAQueueConfig)
        for name in setting_names(model)
    ]
    assert all(row[5] for row in rows)
    assert {row[0] for row in rows if row[2] == "s"} == {row[0] for row in rows if "_seconds" in row[0]}


def test_the_documented_order_is_the_one_in_the_code() -> None:
    text = DOCS.read_text(encoding="utf-8").split("## Which source wins")[1]
    order = ["defaults", "pyproject.toml", "littleq.toml", "LITTLEQ_", "Python"]
    for prose in (text, str(littleq.config_sources.__doc__)):
        places = [prose.index(source) for source in order]
        assert places == sorted(places)


@pytest.mark.parametrize(
    "example", re.findall(r"```toml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
)
def test_the_documented_files_are_legal(folder: Path, example: str) -> None:
    write(folder, example, "pyproject.toml" if "[tool." in example else "littleq.toml")
    assert loaded(folder).config.queues


@pytest.mark.parametrize(
    "example", re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
)
def test_the_documented_python_runs(folder: Path, example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    exec(example, {})
