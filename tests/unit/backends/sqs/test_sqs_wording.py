"""What SQS users read: wrong URLs, names that SQS does not take, errors; and what of it passes by itself."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from botocore import exceptions as boto

from littleq.backends import build_broker
from littleq.backends.sqs import SQSBroker, outages, sqs_backend
from littleq.backends.sqs.clients import Clients
from littleq.backends.sqs.names import DEAD, DELAYED, sqs_name
from littleq.backends.sqs.urls import Settings, settings_of
from littleq.config import Config, SLAQueueConfig
from littleq.errors import ConfigurationError


def _said(code: str, status: int = 400, operation: str = "SendMessage") -> boto.ClientError:
    answer: Any = {"Error": {"Code": code, "Message": "No."}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return boto.ClientError(answer, operation)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("redis://h", "does not begin with sqs://: write sqs://REGION"),
        ("sqs://eu-west-1/queue", "has a path: write sqs://REGION?option=value, without one"),
        (
            "sqs://eu-west-1?waits=3",
            "has an unknown option waits: the options are endpoint, profile, namespace",
        ),
        ("sqs://eu-west-1?wait=21", "has wait=21: it is a whole number in 1..20"),
        ("sqs://eu-west-1?wait=", "has wait=: it is a whole number in 1..20"),
        ("sqs://eu-west-1?create=maybe", "has create=maybe: it is yes or no"),
        ("sqs://eu-west-1?visibility=1", "has visibility=1: it is a whole number in 2..43200"),
        ("sqs://eu-west-1?max_receives=0", "has max_receives=0: it is a whole number in 1..1000"),
        (
            "sqs://eu-west-1?endpoint=moto:5000",
            "has endpoint=moto:5000: it is a URL that begins with http://",
        ),
        ("sqs://eu-west-1?profile=", "has an empty profile: give it a value, or leave it out"),
    ],
)
def test_a_wrong_url_is_refused_in_a_sentence(url: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings_of(url)
    assert sentence in str(caught.value)


def test_credentials_in_a_url_are_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigurationError, match="holds credentials, which boto3 finds by itself") as caught:
        SQSBroker(url="sqs://AKIAEXAMPLE:hunter2@eu-west-1")
    assert "hunter2" not in str(caught.value)
    assert "AKIAEXAMPLE" not in str(caught.value)


def test_the_configuration_makes_the_broker() -> None:
    url = "sqs://eu-west-1?endpoint=http://127.0.0.1:1&wait=20"
    broker = build_broker(Config(url=url, heartbeat_timeout_seconds=20.5))
    assert isinstance(broker, SQSBroker)
    assert (broker.visibility, broker.namespace, broker.prefix, broker.settings.wait) == (
        21,
        "dramatiq",
        "",
        20,
    )
    named = build_broker(Config(url=url, namespace="shop"))
    assert named.prefix == "shop"  # type: ignore[attr-defined]
    assert SQSBroker(url="sqs://eu-west-1?namespace=dramatiq").prefix == "dramatiq"
    backend = sqs_backend(broker)
    assert backend.serves(url)
    assert not backend.serves("sqs://us-east-1?endpoint=http://127.0.0.1:1")
    assert not backend.serves("sqs://eu-west-1?what")
    assert not backend.serves("redis://127.0.0.1")
    assert backend.capabilities.recovery.value == 21


def test_a_limit_of_sqs_below_that_of_the_queue_is_told(caplog: pytest.LogCaptureFixture) -> None:
    broker = SQSBroker(url="sqs://eu-west-1?max_receives=5")
    broker.configure(Config(queues={"q": SLAQueueConfig("q", max_deliveries=5)}))
    assert (
        "Queue 'q': max_deliveries is 5, but SQS itself dead-letters a job that was handed out 5 times"
        in caplog.text
    )


@pytest.mark.parametrize("queue", ["q" * 77, "ümlaut", "a b"])
def test_a_name_that_sqs_does_not_take_is_refused(queue: str) -> None:
    with pytest.raises(ConfigurationError, match="which takes up to 80 letters, digits, - and _"):
        sqs_name(queue, suffix=DEAD)


def test_names_of_fifo_queues() -> None:
    assert sqs_name("orders.fifo", "shop") == "shop_orders.fifo"
    assert sqs_name("orders.fifo", "shop", DELAYED) == "shop_orders_delay"
    with pytest.raises(ConfigurationError):
        sqs_name("q" * 76 + ".fifo")


def test_a_missing_region_or_profile_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(ConfigurationError, match="No region is known for SQS: write it into the URL"):
        _ = Clients(Settings()).quick
    with pytest.raises(ConfigurationError, match="names the profile 'nobody', which ~/"):
        _ = Clients(Settings("eu-west-1", profile="nobody")).quick
    with pytest.raises(ConfigurationError, match="SQS cannot be reached as the URL says"):
        _ = Clients(Settings("not a region")).quick


@pytest.mark.parametrize(
    ("error", "transient", "sentence"),
    [
        (boto.NoCredentialsError(), True, "boto3 finds no credentials: set AWS_ACCESS_KEY_ID"),
        (
            boto.PartialCredentialsError(provider="env", cred_var="x"),
            True,
            "half of the credentials are missing",
        ),
        (
            boto.EndpointConnectionError(endpoint_url="http://x"),
            True,
            "the server is away (EndpointConnectionError)",
        ),
        (
            boto.ReadTimeoutError(endpoint_url="http://x"),
            True,
            "the server does not answer (ReadTimeoutError)",
        ),
        (_said("RequestThrottled"), True, "SQS limits the rate of requests (RequestThrottled)"),
        (_said("WhoKnows", 503), True, "SQS has trouble of its own (WhoKnows)"),
        (_said("ExpiredToken", 403), True, "the credentials have expired: renew them"),
        (_said("InvalidClientTokenId", 403), True, "SQS does not know these credentials"),
        (
            _said("AccessDenied", 403),
            False,
            "these credentials lack the right to sqs:SendMessage; docs/sqs.md lists",
        ),
        (_said("AWS.SimpleQueueService.NonExistentQueue"), False, "does not exist at SQS: create it"),
        (_said("InvalidParameterValue"), False, "SQS says InvalidParameterValue (No)"),
        (boto.NoRegionError(), False, "No region is known: write it into the URL"),
    ],
)
def test_errors_are_told_in_a_sentence(error: Exception, transient: bool, sentence: str) -> None:
    level, said = outages.explain(error, "q")
    assert sentence in said
    assert level == (logging.WARNING if transient else logging.ERROR)
    with pytest.raises(outages.SQSError) as caught, outages.in_plain_words("q"):
        raise error
    assert str(caught.value) == f"{said}."
    assert outages.is_transient(caught.value) is transient
    assert outages.is_transient(error) is transient


def test_dramatiq_is_told_of_what_passes_by_itself() -> None:
    from dramatiq.errors import ConnectionClosed

    with (
        pytest.raises(ConnectionClosed, match="Queue 'q': the server is away"),
        outages.in_dramatiqs_words("q"),
    ):
        raise boto.EndpointConnectionError(endpoint_url="http://x")
    with pytest.raises(boto.ClientError), outages.in_dramatiqs_words("q"):
        raise _said("AccessDenied")


def test_a_batch_passes_by_itself_only_if_all_of_it_does() -> None:
    assert outages.is_transient(outages.PartlySent([], [1], ["Throttling"]))
    assert not outages.is_transient(outages.PartlySent([], [1, 2], ["Throttling", "InvalidMessageContents"]))
