"""What a URL says: `sqs://REGION?option=value&…`. A secret has no place in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from littleq.errors import ConfigurationError
from littleq.redaction import redact_url

SCHEME: Final = "sqs"
#: The longest that SQS keeps a message, hides one that was received, and lets a receive wait; all in seconds.
LONGEST_RETENTION, LONGEST_VISIBILITY, LONGEST_WAIT = 14 * 86_400, 12 * 3600, 20
#: The shortest retention that it has, in seconds.
SHORTEST_RETENTION = 60
#: How long a receive waits for a message on an empty queue, in seconds. A worker that ends waits for its last one,
#: so that no job falls to nobody: longer is cheaper (docs/sqs.md has the formula), shorter ends sooner.
DEFAULT_WAIT_SECONDS = 5
#: A job handed out so often is put to the dead letters by SQS itself. Far above `max_deliveries`, which charges the
#: jobs that ran: each worker that stops gives back what it had prefetched, and SQS counts that too. SQS allows 1000.
DEFAULT_MAX_RECEIVES = 100

_YES, _NO = ("yes", "true", "on", "1"), ("no", "false", "off", "0")
_OPTIONS = ("endpoint", "profile", "namespace", "visibility", "wait", "create", "max_receives")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the queues are and how they are used.

    Attributes:
        region: as AWS names it; "": the one of boto3's own chain (`AWS_REGION`, `~/.aws/config`).
        endpoint: another server than AWS; None: AWS.
        profile: of `~/.aws/config`; None: the usual one.
        namespace: prefix of all names of queues, with a `_` behind it; "": none.
        visibility: seconds for which a job that this process holds is hidden from others; it is renewed as long as the
            process lives. None: `heartbeat_timeout_seconds`.
        wait: seconds that a receive waits on an empty queue, in 1..20.
        create: whether queues that are missing are made.
        max_receives: of the redrive policy of queues that are made, in 1..1000.
    """

    region: str = ""
    endpoint: str | None = None
    profile: str | None = None
    namespace: str = ""
    visibility: int | None = None
    wait: int = DEFAULT_WAIT_SECONDS
    create: bool = True
    max_receives: int = DEFAULT_MAX_RECEIVES


def settings_of(url: str) -> Settings:
    """What `url` says.

    Raises:
        ConfigurationError: it is no `sqs://` URL, has an unknown option, a wrong value, or what looks like credentials.

    >>> found = settings_of("sqs://eu-west-1?wait=20&create=no")
    >>> found.region, found.wait, found.create
    ('eu-west-1', 20, False)
    """
    parts = urlsplit(url)
    if parts.scheme != SCHEME:
        raise _wrong(url, "does not begin with sqs://", "write sqs://REGION, as in sqs://eu-west-1")
    if "@" in url:
        raise _wrong(
            url,
            "holds credentials, which boto3 finds by itself",
            "take them out of the URL, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role",
        )
    if parts.path.strip("/"):
        raise _wrong(url, "has a path", "write sqs://REGION?option=value, without one")
    found: dict[str, Any] = {"region": parts.netloc}
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        if name not in _OPTIONS:
            legal = f"the options are {', '.join(_OPTIONS)}"
            raise _wrong(url, f"has an unknown option {name}", legal)
        found[name] = _value(url, name, text)
    return Settings(**found)


def _value(url: str, name: str, text: str) -> Any:
    if name == "create":
        if text.lower() not in (*_YES, *_NO):
            raise _wrong(url, f"has create={text}", "it is yes or no")
        return text.lower() in _YES
    if name == "visibility":
        return _number(url, name, text, 2, LONGEST_VISIBILITY)
    if name == "wait":
        return _number(url, name, text, 1, LONGEST_WAIT)
    if name == "max_receives":
        return _number(url, name, text, 1, 1000)
    if name == "endpoint" and urlsplit(text).scheme not in ("http", "https"):
        raise _wrong(url, f"has endpoint={text}", "it is a URL that begins with http:// or https://")
    if not text:
        raise _wrong(url, f"has an empty {name}", "give it a value, or leave it out")
    return text


def _number(url: str, name: str, text: str, low: int, high: int) -> int:
    number = int(text) if text.isascii() and text.isdigit() else -1
    if not low <= number <= high:
        raise _wrong(url, f"has {name}={text}", f"it is a whole number in {low}..{high}")
    return number


def _wrong(url: str, what: str, legal: str) -> ConfigurationError:
    return ConfigurationError(f"The URL {redact_url(url)} {what}: {legal}.")
