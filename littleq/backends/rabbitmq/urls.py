"""From `amqp://` URLs to pika's parameters and the address of the management API."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import pika

from littleq.errors import ConfigurationError
from littleq.redaction import redact_url

SCHEMES = ("amqp", "amqps")
#: Settings of pika's, in seconds, where a URL says nothing. A server that is silent for two heartbeats is away; one
#: that takes no messages (an alarm) is waited for so long, and then the sender hears of it.
DEFAULTS = {
    "heartbeat": "15",
    "blocked_connection_timeout": "10",
    "socket_timeout": "5",
    "stack_timeout": "8",
}
_PORTS = {"amqp": 15672, "amqps": 15671}
_WEB = {"amqp": "http", "amqps": "https"}


def split_urls(url: str) -> list[str]:
    """Several servers of a cluster stand in one setting, as Dramatiq has it: with `;` between them."""
    return [each for each in url.split(";") if each]


def parameters_of(url: str) -> tuple[pika.URLParameters, str | None]:
    """pika's parameters of one URL, and the address of the management API.

    The option `management` names it where it is not at its usual port of the same host (`?management=http://host:1234`);
    `management=off`: there is none. All other options are pika's.

    Raises:
        ConfigurationError: it is no such URL, or an option is unknown or wrong.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES:
            raise ValueError("the scheme is none of amqp:// and amqps://")
        options = dict(parse_qsl(parts.query))
        management = options.pop("management", None)
        query = urlencode({**DEFAULTS, **options})
        parameters = pika.URLParameters(urlunsplit((parts.scheme, parts.netloc, parts.path, query, "")))
    except Exception as error:  # pika raises whatever its parsing meets
        raise ConfigurationError(
            f"{redact_url(url)!r} is no URL of a RabbitMQ server ({type(error).__name__}: {redact_url(str(error))}): "
            "use amqp://user:password@host:5672/vhost, with `/` in the vhost written %2F."
        ) from None
    if management == "off":
        return parameters, None
    if management is None:
        host = f"[{parameters.host}]" if ":" in parameters.host else parameters.host
        management = f"{_WEB[parts.scheme]}://{host}:{_PORTS[parts.scheme]}"
    elif urlsplit(management).scheme not in ("http", "https"):
        raise ConfigurationError(
            f"The option management of {redact_url(url)!r} is {redact_url(management)!r}: use http://host:15672, "
            "https://…, or off."
        )
    return parameters, management.rstrip("/")


def is_same_server(parameters: Sequence[pika.ConnectionParameters], url: str) -> bool:
    """Whether a URL is that of one of these servers."""
    known = {(each.host, each.port, each.virtual_host) for each in parameters}
    try:
        found = [parameters_of(each)[0] for each in split_urls(url)]
    except ConfigurationError:
        return False
    return any((each.host, each.port, each.virtual_host) in known for each in found)


def shown(parameters: Sequence[pika.ConnectionParameters]) -> str:
    """These servers, without user and password.

    >>> shown([parameters_of("amqp://me:hunter2@db:5672/shop")[0]])
    'amqp://db:5672/shop'
    """
    return ";".join(
        f"{'amqp' if each.ssl_options is None else 'amqps'}://{each.host}:{each.port}"
        + ("" if each.virtual_host == "/" else f"/{each.virtual_host}")
        for each in parameters
    )
