"""Secrets never reach a message, a log or a table: a URL is shown without what stands before its host."""

from __future__ import annotations

import re

#: What takes the place of a secret. A configuration that holds it was copied from a message, and is refused.
HIDDEN = "***"

#: Settings that are secret as a whole; a URL may be shown in part.
SECRET_SETTINGS = frozenset({"exporter_token"})

_SECRET_PARAMETER = re.compile(
    r"(?P<name>[?&;][^=&;#]*(?:user|pass|pwd|secret|token|key|auth|credential|jaas)[^=&;#]*=)[^&;#]*",
    re.IGNORECASE,
)


def redact_url(url: str) -> str:
    """`url` with user and password hidden, and every query parameter that sounds like a secret.

    Cuts at the *last* `@`, not at the first as RFC 3986 has it: a password with an unescaped `@`, `/` or
    blank makes a wrong URL, which is exactly what an error message is about to quote. What has no scheme is
    treated alike, for it may be a URL whose scheme was forgotten. The user goes too: some services take a
    token there.

    >>> redact_url("redis://me:hunter2@db:6379/0")
    'redis://***@db:6379/0'
    >>> redact_url("redis://db:6379/0?password=hunter2&db=1")
    'redis://db:6379/0?password=***&db=1'
    >>> redact_url("kafka://a:9092,b:9092?security.protocol=SASL_SSL&sasl.password=hunt@r2")
    'kafka://a:9092,b:9092?security.protocol=SASL_SSL&sasl.password=***'
    >>> redact_url(":hunter2@db:6379"), redact_url("embedded://")
    ('***@db:6379', 'embedded://')
    """
    url = _SECRET_PARAMETER.sub(rf"\g<name>{HIDDEN}", url)  # first: what it hides may hold an @
    head, at, tail = url.rpartition("@")
    if at:
        scheme, separator, _ = head.partition("://")
        url = f"{scheme}{separator}{HIDDEN}@{tail}" if separator else f"{HIDDEN}@{tail}"
    return url
