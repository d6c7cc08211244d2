"""Environment variables: spelling, types, queue names, and whose they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from littleq.config import Config, SLAQueueConfig
from tests.unit.config.support import loaded, refusal, write

Q = "LITTLEQ_QUEUES__REALTIME__"


@pytest.mark.parametrize(
    ("variable", "text", "setting", "value"),
    [
        ("LITTLEQ_URL", "redis://db", "url", "redis://db"),
        ("LITTLEQ_LEDGER_URL", "memory://", "ledger_url", "memory://"),
        ("LITTLEQ_NAMESPACE", "5", "namespace", "5"),
        ("LITTLEQ_FLUSH_SECONDS", " 2 ", "flush_seconds", 2.0),
        ("LITTLEQ_SAMPLE_SECONDS", "1e-1", "sample_seconds", 0.1),
        ("LITTLEQ_HEARTBEAT_TIMEOUT_SECONDS", "30", "heartbeat_timeout_seconds", 30.0),
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
        ("MAX_DELIVERIES", "2", 2),
        ("DEAD_RETENTION_SECONDS", "86400", 86400.0),
        ("CONCURRENCY_GLOBAL", "12", 12),
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
        (f"{Q}CONCURRENCY_GLOBAL", "0", "is 0: it must be a whole number >= 1"),
        ("LITTLEQ_HEARTBEAT_TIMEOUT_SECONDS", "0.5", "is 0.5: it must be a number of seconds >= 1"),
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
        (
            "LITTLEQ_QUEUES__REALTIME",
            "x",
            "is not a setting: use one of LITTLEQ_QUEUES__<QUEUE>__ARRIVAL_RATE",
        ),
        ("LITTLEQ_QUEUES", "x", "is not a setting: use LITTLEQ_QUEUES__<QUEUE>__<SETTING>"),
        ("LITTLEQ_QUEUE__A__SLA_SECONDS", "1", "is not a setting: use LITTLEQ_QUEUES__<QUEUE>__<SETTING>"),
        ("LITTLEQ_EXPORTER_PORT", "no", "is 'no': it must be a whole number >= 0 and <= 65535"),
        ("LITTLEQ_EXPORTER_ENABLED", "maybe", "is 'maybe': it must be true or false"),
        ("LITTLEQ_REDIS_URL", "x", "is not a setting: use LITTLEQ_URL,"),
        ("LITTLEQ_DATADIR", "x", "is not a setting: use LITTLEQ_DATA_DIR"),
        ("LITTLEQ_URLS", "redis://", "is not a setting: use LITTLEQ_URL,"),
    ],
)
def test_a_wrong_variable_is_refused_with_its_name(folder: Path, variable: str, text: str, rest: str) -> None:
    sentence = refusal(folder, {variable: text})
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
