"""How a configuration is shown: complete, without secrets, and as TOML without loss."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littleq.config import Config, SLAQueueConfig
from littleq.config.messages import setting_names
from littleq.config.report import DERIVED, Setting, describe_config, ledger_place, to_toml
from littleq.config.sources import Loaded, load_config
from tests.unit.config.support import loaded, write


def test_no_description_holds_a_secret(folder: Path) -> None:
    write(folder, 'url = "redis://me:hunter2@db"\nledger_url = "redis://db?password=hunter2"')
    found = loaded(folder)
    settings = list(describe_config(found))
    assert "hunter2" not in f"{settings} {to_toml(settings)} {ledger_place(found)} {found!r}"


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
        (
            "url = 'amqp://me:hunter2@rabbit'",
            [
                "the memory of each process by itself, lost at its end (amqp:// keeps none, url from littleq.toml",
                "; ledger_url is not set). ",
                *(
                    "fleet-wide metrics",
                    "capacity of workers in other processes",
                    "no autoscaling",
                    "poison jobs",
                ),
                *("`littleq audit`", "`littleq monitor`", 'ledger_url = "redis://', '"embedded://"'),
            ],
        ),
        ("url = 'kafka://b'\nledger_url = 'memory://'", ["memory://, the memory of each", "no autoscaling"]),
        ("url = 'sqs://eu'\nledger_url = 'redis://db'", ["redis://db (ledger_url from littleq.toml)"]),
    ],
)
def test_the_ledgers_place_is_told(folder: Path, text: str, pieces: list[str]) -> None:
    write(folder, text)
    told = ledger_place(loaded(folder))
    assert [piece for piece in pieces if piece not in told] == []
    assert ("no autoscaling" in told) == ("each process" in told)
    assert "hunter2" not in told


positive = st.floats(min_value=0, exclude_min=True, allow_nan=False, allow_infinity=False)
shares = st.floats(min_value=0, max_value=1, exclude_min=True)
names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9._-]*", fullmatch=True)
exceptions = st.from_regex(r"[A-Za-z_]\w*(\.[A-Za-zé_]\w*)?", fullmatch=True).filter(
    lambda name: all(part.isidentifier() for part in name.split("."))
)


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
    process, fleet = sorted(draw(st.tuples(*[st.integers(1)] * 2)))
    return SLAQueueConfig(
        name,
        rate,
        draw(positive),
        draw(st.integers(1)),
        draw(shares),
        draw(st.integers(0)),
        percentile=draw(st.floats(1, 100, exclude_max=True)),
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
        max_deliveries=draw(st.integers(1)),
        dead_retention_seconds=draw(st.none() | positive),
        concurrency=draw(st.none() | st.just(process)),
        concurrency_global=draw(st.none() | st.just(fleet)),
        min_workers=workers[0],
        max_workers=workers[1],
        service_time_seconds=draw(st.none() | positive),
    )


@given(queue=queues())
def test_any_legal_queue_survives_a_round_trip_through_toml(
    queue: SLAQueueConfig, tmp_path_factory: pytest.TempPathFactory
) -> None:
    before = Config(
        queues={queue.name: queue}, namespace='a "quoted" \x7f one', heartbeat_timeout_seconds=1.5
    )
    path = tmp_path_factory.getbasetemp() / "round-trip.toml"
    path.write_text(to_toml(describe_config(Loaded(before, (), {}))), encoding="utf-8")
    assert load_config(path=path, environ={}) == before
