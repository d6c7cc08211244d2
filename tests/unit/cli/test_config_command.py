"""`littleq config show` and `check`: what they print, and the exit code that scripts go by."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from littleq.cli.config import config
from littleq.cli.root import run
from littleq.config.sources import load_config
from littleq.errors import ConfigurationError

FILE = """
url = "redis://me:hunter2@db:6379/0"
ledger_url = "redis://db/1?password=hunter2"
[exporter]
port = 9000
[queues.realtime]
arrival_rate = 20
sla_seconds = 0.5
retry_routes = { TimeoutError = "dead" }
[queues."mail.bulk"]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in [name for name in os.environ if name.startswith("LITTLEQ_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*arguments: str) -> Result:
    result = CliRunner().invoke(config, list(arguments))
    assert "hunter2" not in result.output
    return result


def line_of(result: Result, setting: str) -> list[str]:
    return next(line.split() for line in result.output.splitlines() if line.startswith(setting))


def test_show_prints_value_and_origin_of_every_setting(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "littleq.toml").write_text(FILE)
    monkeypatch.setenv("LITTLEQ_QUEUES__MAIL_BULK__MAX_WORKERS", "3")
    result = invoke("show")
    assert result.exit_code == 0
    assert line_of(result, "url")[1:] == ["redis://***@db:6379/0", "littleq.toml"]
    assert line_of(result, "ledger_url")[1] == "redis://db/1?password=***"
    assert line_of(result, "exporter_port")[1:] == ["9000", "littleq.toml"]
    assert line_of(result, "queues.realtime.sla_seconds")[1:] == ["0.5", "littleq.toml"]
    assert line_of(result, "queues.realtime.percentile")[1:] == ["99.0", "default"]
    assert line_of(result, "queues.realtime.queue_limit")[1:] == ["10.0", "derived"]
    assert line_of(result, "queues.realtime.concurrency")[1:] == ["not", "set", "default"]
    maximum = line_of(result, 'queues."mail.bulk".max_workers')
    assert maximum[1:] == ["3", "LITTLEQ_QUEUES__MAIL_BULK__MAX_WORKERS"]
    assert "littleq.toml" in result.output.splitlines()[0]


def test_show_without_any_configuration_says_so() -> None:
    assert "no littleq.toml" in invoke("show").output


def test_what_the_command_line_says_wins() -> None:
    result = invoke("show", "--redis", "localhost:6380")
    assert line_of(result, "url")[1:] == ["redis://localhost:6380", "command", "line"]


def test_show_json_is_for_programs(folder: Path) -> None:
    (folder / "littleq.toml").write_text(FILE)
    data = json.loads(invoke("show", "--json").output)
    assert [Path(file).name for file in data["files"]] == ["littleq.toml"]
    settings = {row["setting"]: (row["value"], row["origin"]) for row in data["settings"]}
    assert settings["url"] == ("redis://***@db:6379/0", "littleq.toml")
    assert settings["queues.realtime.sla_seconds"] == (0.5, "littleq.toml")
    assert settings["queues.realtime.retry_routes.TimeoutError"] == ("dead", "littleq.toml")
    assert settings['queues."mail.bulk".divert_to'] == (None, "default")
    assert settings["queues.realtime.queue_limit"] == (10.0, "derived")


def test_show_toml_is_a_configuration_again(folder: Path) -> None:
    path = folder / "littleq.toml"
    path.write_text(FILE.replace("me:hunter2@", "").replace("?password=hunter2", ""))
    before = load_config(environ={})
    text = invoke("show", "--toml").output
    assert tomllib.loads(text)["exporter"]["port"] == 9000
    path.write_text(text)
    assert load_config(environ={}) == before


def test_show_toml_with_a_hidden_password_is_not_taken_for_one(folder: Path) -> None:
    (folder / "littleq.toml").write_text(FILE)
    text = invoke("show", "--toml").output
    (folder / "littleq.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"littleq\.toml url holds \*\*\*"):
        load_config(environ={})


def test_json_and_toml_exclude_each_other() -> None:
    assert invoke("show", "--json", "--toml").exit_code == 2


def test_a_file_can_be_named(folder: Path) -> None:
    (folder / "other.toml").write_text("[queues.a]")
    assert invoke("check", "--config", "other.toml").output.startswith("OK: 1 queue configured (other.toml)")


def test_check_counts_queues_and_tells_where_the_ledger_is(folder: Path) -> None:
    (folder / "littleq.toml").write_text(FILE)
    result = invoke("check")
    lines = result.output.splitlines()
    assert (result.exit_code, len(lines)) == (0, 2)
    assert lines[0].startswith("OK: 2 queues configured (") and "littleq.toml" in lines[0]
    assert lines[1] == "Ledger: redis://db/1?password=*** (ledger_url from littleq.toml)"


def test_check_warns_and_still_succeeds(folder: Path) -> None:
    (folder / "littleq.toml").write_text(
        "[queues.a]\narrival_rate = 0.5\nsla_seconds = 1\nservice_time_seconds = 60"
    )
    result = invoke("check", "--threads", "2")
    assert result.exit_code == 0
    assert "warning: queue a: the contract allows" in result.output
    assert "max_workers = 10 with 2 jobs each" in result.output
    assert "run most" not in invoke("check", "--threads", "8").output


def test_a_wrong_configuration_raises_our_own_error(folder: Path) -> None:
    (folder / "littleq.toml").write_text("[queues.a]\nsla_seconds = 0")
    for command in ("show", "check"):
        assert isinstance(invoke(command).exception, ConfigurationError)


def test_a_wrong_configuration_ends_with_2_and_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "littleq.toml").write_text("url = 'http://me:hunter2@db'\n[queues.a]\nsla_seconds = 0")
    assert run(["config", "check"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "hunter2" not in err
    assert "littleq.toml [queues.a] sla_seconds is 0: it must be a number of seconds > 0" in err
