"""boto3 clients of one process, made at their first use: they do not survive a fork, and a broker is often made
before one."""

from __future__ import annotations

import threading
from typing import Any

import boto3
from botocore.config import Config as BotoConfig
from botocore.exceptions import BotoCoreError, NoRegionError, ProfileNotFound

from littleq.backends.sqs.urls import Settings
from littleq.background import survive_forks
from littleq.errors import ConfigurationError

#: A server that does not take a connection, or does not answer, within these is away, in seconds.
CONNECT_SECONDS, READ_SECONDS = 3.0, 10.0
#: The same for a sign of life: together within the two seconds that a ping may take.
PING_SECONDS = 0.9
#: The same for renewing visibility: a beat that fails is followed by the next one.
BEAT_CONNECT_SECONDS, BEAT_READ_SECONDS = 2.0, 3.0
#: Attempts of one request in all: the client repeats what is throttled or answered with 5xx, with growing pauses.
ATTEMPTS = 4
#: Connections that are kept open: above what the threads of a process use at a time.
CONNECTIONS = 50


class Clients:
    """Clients of one account and region. boto3's clients may be shared by threads, its sessions and resources not.

    Attributes:
        settings: where the server is.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.after_fork_in_child()
        survive_forks(self)

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[str, Any] = {}
        self._session: Any = None  # reads boto3's description of SQS once, which takes a tenth of a second

    @property
    def quick(self) -> Any:
        """For all that is answered at once."""
        return self._get("quick", CONNECT_SECONDS, READ_SECONDS, ATTEMPTS)

    @property
    def looking(self) -> Any:
        """For an operator's first question, who is to hear within seconds that nobody answers."""
        return self._get("looking", CONNECT_SECONDS, READ_SECONDS / 2, 2)

    @property
    def patient(self) -> Any:
        """For receives that wait. Not repeated: the answer that was lost may have held jobs, and the caller knows."""
        return self._get("patient", CONNECT_SECONDS, self.settings.wait + READ_SECONDS, 1)

    @property
    def steady(self) -> Any:
        """For what is done again soon."""
        return self._get("steady", BEAT_CONNECT_SECONDS, BEAT_READ_SECONDS, 1)

    @property
    def hasty(self) -> Any:
        """For asking the server for a sign of life."""
        return self._get("hasty", PING_SECONDS, PING_SECONDS, 1)

    def _get(self, name: str, connect: float, read: float, attempts: int) -> Any:
        found = self._made.get(name)
        if found is None:
            with self._lock:
                found = self._made.get(name)
                if found is None:
                    found = self._made[name] = self._make(connect, read, attempts)
        return found

    def _make(self, connect: float, read: float, attempts: int) -> Any:
        """
        Raises:
            ConfigurationError: no region is known, or no such profile.
        """
        config = BotoConfig(
            connect_timeout=connect,
            read_timeout=read,
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=CONNECTIONS,
            tcp_keepalive=True,
        )
        settings = self.settings
        try:
            if self._session is None:
                region = settings.region or None
                self._session = boto3.session.Session(profile_name=settings.profile, region_name=region)
            return self._session.client("sqs", endpoint_url=settings.endpoint, config=config)
        except NoRegionError:
            raise ConfigurationError(
                "No region is known for SQS: write it into the URL, as in sqs://eu-west-1, or set AWS_REGION."
            ) from None
        except ProfileNotFound:
            raise ConfigurationError(
                f"The URL names the profile {settings.profile!r}, which ~/.aws/config does not have: correct it."
            ) from None
        except (BotoCoreError, ValueError) as error:  # a region or an endpoint that makes no address
            raise ConfigurationError(f"SQS cannot be reached as the URL says: {error}. Correct it.") from None
