"""Sentences about settings: words for what is legal, suggestions, and no secret in any of them."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from littleq.config import Config, SLAQueueConfig
from littleq.config.messages import legal_values, one_sentence, setting_names, unknown
from littleq.errors import ConfigurationError
from littleq.redaction import redact_url


def test_pydantic_alone_is_put_into_one_sentence_too() -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(dict[str, int]).validate_python({"a": "x"})
    assert one_sentence(caught.value, "here").startswith("here a is 'x': input should be a valid integer")


@pytest.mark.parametrize("model", [Config, SLAQueueConfig])
def test_every_setting_can_say_what_is_legal(model: type) -> None:
    assert all(legal_values(model, name) for name in setting_names(model))


def test_a_suggestion_is_spelled_as_its_source_spells_it() -> None:
    assert "use LITTLEQ_URL," in unknown("urll", ["url"], lambda name: f"LITTLEQ_{name.upper()}")


SECRET_URLS = [
    "redis://me:hunter2@db:6379/0",
    "redis://:hunter2@db",
    "rediss://hunter2@db",
    "redis://me:hunter2/with/slash@db",
    "redis://me:hunter2@twice@db",
    "redis://me:hunter2 with blank@db",
    "redis://me:hunter2#?@db",
    "valkey://db?password=hunter2&db=1",
    "redis://db?db=1&PassWord=hunter2",
    "unix://me:hunter2@/run/valkey.sock?db=1",
    "redis://me:hunter2@one,redis://me:hunter2@two",
    "me:hunter2@db:6379",
    "redis:/me:hunter2@db",
]


@pytest.mark.parametrize("url", SECRET_URLS)
def test_a_redacted_url_keeps_no_secret(url: str) -> None:
    assert "hunter2" not in redact_url(url)
    assert redact_url(redact_url(url)) == redact_url(url)


@pytest.mark.parametrize(
    "url", ["embedded://", "redis://db:6379/0", "unix:///run/x.sock?db=1", "stub://", ""]
)
def test_a_url_without_a_secret_stays_as_it_is(url: str) -> None:
    assert redact_url(url) == url


@pytest.mark.parametrize("url", SECRET_URLS)
def test_no_message_or_repr_shows_a_secret(url: str) -> None:
    for value in (url, f"x{url}", [url], {"url": url}, {url: 1}, (url,), [[url]]):
        for make, setting in ((Config, "url"), (Config, "exporter_port"), (SLAQueueConfig, "sla_seconds")):
            arguments = {"name": "q"} if make is SLAQueueConfig else {}
            try:
                made = make(**arguments, **{setting: value})
            except ConfigurationError as error:
                assert "hunter2" not in str(error)
                assert error.__cause__ is None and error.__suppress_context__
            else:
                assert "hunter2" not in repr(made)
