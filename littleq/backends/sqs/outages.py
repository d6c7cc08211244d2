"""Which errors of SQS pass by themselves, how an operator reads about them, and how Dramatiq is told."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from botocore import exceptions as boto
from dramatiq.errors import ConnectionClosed

from littleq.backends import base
from littleq.backends.trouble import Trouble
from littleq.errors import BackendError

#: What `except` lists of this package name: all that boto3 raises.
SQS_ERRORS = (boto.BotoCoreError, boto.ClientError)

_THROTTLED = "SQS limits the rate of requests"
_DOWN = "SQS has trouble of its own"
_EXPIRED = "the credentials have expired: renew them"
_WRONG = "SQS does not know these credentials: look at AWS_ACCESS_KEY_ID, the profile or the role"
#: "Not now", by the code of the answer; others with a status of 500 and above too.
_TRANSIENT_CODES: Final = {
    **dict.fromkeys(
        (
            "RequestThrottled",
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "TooManyRequestsException",
        ),
        _THROTTLED,
    ),
    **dict.fromkeys(("RequestLimitExceeded", "KmsThrottled", "KMS.ThrottlingException"), _THROTTLED),
    **dict.fromkeys(("InternalError", "InternalFailure", "ServiceUnavailable", "RequestTimeout"), _DOWN),
    "OverLimit": "the queue has as many messages in flight as SQS allows (120,000)",
    "AWS.SimpleQueueService.QueueDeletedRecently": "the queue was deleted less than a minute ago",
    "QueueDeletedRecently": "the queue was deleted less than a minute ago",
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException", "RequestExpired"), _EXPIRED),
    **dict.fromkeys(("InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId"), _WRONG),
    **dict.fromkeys(("SignatureDoesNotMatch", "InvalidSignatureException", "InvalidSecurity"), _WRONG),
    "IncompleteSignature": _WRONG,
}
_MISSING_CREDENTIALS = (
    "boto3 finds no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role"
)
#: The same, by the class of what boto3 raises; the first that fits counts.
_TRANSIENT: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (boto.NoCredentialsError, _MISSING_CREDENTIALS),
    (boto.PartialCredentialsError, "half of the credentials are missing: boto3 finds only a part of them"),
    (boto.CredentialRetrievalError, "boto3 cannot get the credentials"),
    (boto.MetadataRetrievalError, "boto3 cannot get the credentials"),
    (boto.TokenRetrievalError, "boto3 cannot get the credentials"),
    (boto.ConnectTimeoutError, "the server does not answer"),
    (boto.ReadTimeoutError, "the server does not answer"),
    (boto.EndpointConnectionError, "the server is away"),
    (boto.HTTPClientError, "the server is away"),
)
_NO_ANSWER = (
    boto.HTTPClientError,
    boto.ConnectTimeoutError,
    boto.ReadTimeoutError,
    boto.EndpointConnectionError,
)
NO_RIGHT = (
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "KmsAccessDenied",
    "KMS.AccessDeniedException",
)
_NO_QUEUE = (
    "AWS.SimpleQueueService.NonExistentQueue",
    "QueueDoesNotExist",
    "AWS.SimpleQueueService.QueueDoesNotExist",
)


class SQSError(BackendError):
    """What SQS refuses, in one sentence; the client's own error is its `__cause__`."""


class PartlySent(base.PartlySent, SQSError):
    """Some messages of a batch did not go in.

    Attributes:
        codes: what SQS says of those.
    """

    def __init__(self, sent: list[Any], unsent: list[Any], codes: list[str]) -> None:
        what = ", ".join(sorted(set(codes)))
        super().__init__(
            f"{len(unsent)} of {len(sent) + len(unsent)} messages are not sent, SQS says {what}: send those of "
            "`unsent` again.",
            sent,
            unsent,
        )
        self.codes = codes


def code_of(error: BaseException) -> str:
    """The code in SQS's answer; "" if there was none."""
    if not isinstance(error, boto.ClientError):
        return ""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_code_transient(code: str) -> bool:
    """The same of the failed entry of a batch."""
    return code in _TRANSIENT_CODES


def is_missing(error: BaseException) -> bool:
    """Whether the queue does not exist."""
    return code_of(error) in _NO_QUEUE


def is_transient(error: BaseException) -> bool:
    """Whether trying again later may help. Credentials are renewed, so their lack counts as an outage."""
    if isinstance(error, PartlySent):
        return all(map(is_code_transient, error.codes))
    if isinstance(error, SQSError) and error.__cause__ is not None:
        error = error.__cause__
    return _meaning(error) is not None


def _meaning(error: BaseException) -> str | None:
    for kind, meaning in _TRANSIENT:
        if isinstance(error, kind):
            return meaning
    if isinstance(error, boto.ClientError):
        known = _TRANSIENT_CODES.get(code_of(error))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return known or (_DOWN if status >= 500 or status == 429 else None)
    return None


def sentence(error: BaseException, queue: str) -> str:
    """What an operator reads of it, without a full stop. No answer of SQS's holds a secret; the request, which holds
    one, is not quoted."""
    meaning, code = _meaning(error), code_of(error)
    if isinstance(error, SQSError):
        return str(error).rstrip(".")
    if code in NO_RIGHT:
        doing = getattr(error, "operation_name", "") or "this"
        return f"Queue {queue!r}: these credentials lack the right to sqs:{doing}; docs/sqs.md lists what is needed"
    if is_missing(error):
        return f"Queue {queue!r} does not exist at SQS: create it, or leave create=no out of the URL"
    if isinstance(error, boto.NoRegionError):
        return "No region is known: write it into the URL (sqs://eu-west-1), or set AWS_REGION"
    if meaning is not None:
        return f"Queue {queue!r}: {meaning} ({code or type(error).__name__})"
    said = (
        error.response.get("Error", {}).get("Message", "")
        if isinstance(error, boto.ClientError)
        else str(error)
    )
    return f"Queue {queue!r}: SQS says {code or type(error).__name__} ({_first(said)})"


def trouble(error: BaseException) -> Trouble | None:
    """What is wrong with the server, and what to do; None: it is no error of the server's."""
    if isinstance(error, SQSError) and error.__cause__ is not None:
        error = error.__cause__
    code, meaning = code_of(error), _meaning(error)
    if code in NO_RIGHT:
        doing = getattr(error, "operation_name", "") or "this"
        return Trouble(
            f"refuses these credentials the right to sqs:{doing}",
            "docs/sqs.md lists the rights that are needed",
        )
    if meaning is None:
        return None
    what, _, do = meaning.partition(": ")
    if isinstance(error, _NO_ANSWER):
        return Trouble("does not answer" if "not answer" in what else f"is away ({_reason(error)})")
    return Trouble(f"cannot be used: {what} ({code or type(error).__name__})", do or "try again in a moment")


def _reason(error: BaseException) -> str:
    """Inside what botocore wraps around it."""
    inner = getattr(error, "kwargs", {}).get("error")
    cause = getattr(inner, "reason", inner)
    while isinstance(getattr(cause, "__cause__", None), BaseException):
        cause = cause.__cause__  # type: ignore[union-attr]
    said = getattr(cause, "strerror", None) or type(error).__name__
    return str(said)


def _first(said: str) -> str:
    return said.split("\n", maxsplit=1)[0].rstrip(".")[:200]


def explain(error: BaseException, queue: str) -> tuple[int, str]:
    """What an operator reads of an outage, and at which level."""
    return (logging.WARNING if is_transient(error) else logging.ERROR), sentence(error, queue)


@contextmanager
def in_dramatiqs_words(queue: str) -> Iterator[None]:
    """Raise what passes by itself as the `BrokerConnectionError` that Dramatiq waits and tries again for."""
    try:
        yield
    except (*SQS_ERRORS, SQSError) as error:
        if is_transient(error):
            raise ConnectionClosed(sentence(error, queue)) from None
        raise


@contextmanager
def in_plain_words(queue: str) -> Iterator[None]:
    """Raise what boto3 raises as an `SQSError` of one sentence."""
    try:
        yield
    except SQS_ERRORS as error:
        raise SQSError(f"{sentence(error, queue)}.") from error


def failed(answer: Mapping[str, Any]) -> dict[int, str]:
    """What SQS says of the entries of a batch that it did not take, by their number."""
    return {int(entry["Id"]): str(entry.get("Code", "")) for entry in answer.get("Failed", ())}
