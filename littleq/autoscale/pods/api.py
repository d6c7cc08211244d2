"""The two requests to the API server, by lightkube: it finds the account of the pod, and reads a rotated token anew.

RBAC: `list` and `patch` on `pods` in the namespace of the workers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from littleq.autoscale.pods.costs import Pod, host_of
from littleq.errors import BackendError, ConfigurationError

if TYPE_CHECKING:
    from lightkube import Client

T = TypeVar("T")

COST = "controller.kubernetes.io/pod-deletion-cost"
LABELS: dict[str, Any] = {"app.kubernetes.io/name": "littleq", "app.kubernetes.io/component": "worker"}
#: A worker pod says with it which queue it serves; a label could not hold every name.
QUEUE = "littleq-queue"
#: The API server has so long, in seconds.
TIMEOUT_SECONDS = 5.0
#: After a failure it is asked again so much later, in seconds, unless it says when.
PAUSE_SECONDS = 15.0
FORBIDDEN, GONE, TOO_MANY = 403, 404, 429


class PodsUnavailable(BackendError):
    """The API server did not do it.

    Attributes:
        pause_seconds: when to try again at the earliest.
    """

    def __init__(self, reason: str, pause_seconds: float) -> None:
        super().__init__(reason)
        self.pause_seconds = pause_seconds


class PodsAPI:
    """The worker pods of a namespace.

    Args:
        namespace: default: the one of this pod.
        client: for tests; default: one for the account of this pod, else for KUBECONFIG.

    Raises:
        ConfigurationError: the extra is missing, or there is no account.
    """

    def __init__(self, namespace: str | None = None, client: Client | None = None) -> None:
        self._client = client if client is not None else _client()
        self.namespace = namespace or self._client.namespace

    def pods(self) -> list[Pod]:
        """The worker pods that are not about to go.

        Raises:
            PodsUnavailable: the API server does not answer, or refuses.
        """
        from lightkube.resources.core_v1 import Pod as PodResource  # noqa: PLC0415

        def ask() -> list[Pod]:
            listed = self._client.list(PodResource, namespace=self.namespace, labels=LABELS)
            return [
                _pod(found) for found in listed if found.metadata and not found.metadata.deletionTimestamp
            ]

        return _translated(ask, "list", self.namespace)

    def set_cost(self, pod: Pod, cost: int) -> None:
        """Annotate a pod; one that is gone by now is none to care for.

        Raises:
            PodsUnavailable: the API server does not answer, or refuses.
        """
        from lightkube.core.exceptions import ApiError  # noqa: PLC0415
        from lightkube.resources.core_v1 import Pod as PodResource  # noqa: PLC0415
        from lightkube.types import PatchType  # noqa: PLC0415

        change = {"metadata": {"annotations": {COST: str(cost)}}}

        def ask() -> None:
            try:
                self._client.patch(
                    PodResource, pod.name, change, namespace=self.namespace, patch_type=PatchType.MERGE
                )
            except ApiError as error:
                if error.response.status_code != GONE:
                    raise

        _translated(ask, "patch", self.namespace)


def _client() -> Client:
    try:
        import httpx2  # noqa: PLC0415
        from lightkube import Client  # noqa: PLC0415
        from lightkube.core.exceptions import ConfigError  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            f"pod_deletion_cost needs the package {error.name}: pip install 'littleq[kubernetes]'."
        ) from None
    try:
        return Client(timeout=httpx2.Timeout(TIMEOUT_SECONDS))
    except (ConfigError, KeyError, OSError) as error:
        raise ConfigurationError(
            f"pod_deletion_cost finds no account for the API server ({error}): mount the service account's token, or "
            "set KUBECONFIG."
        ) from None


def _pod(found: Any) -> Pod:
    metadata = found.metadata
    labels, annotations = metadata.labels or {}, metadata.annotations or {}
    host = (found.spec and found.spec.hostname) or host_of(metadata.name)
    queue = annotations.get(QUEUE) or labels.get(QUEUE, "")
    return Pod(metadata.name, host, queue, _number(annotations.get(COST)))


def _number(text: str | None) -> int | None:
    try:
        return int(text or 0)
    except ValueError:
        return None


def _translated(ask: Callable[[], T], verb: str, namespace: str) -> T:
    import httpx2  # noqa: PLC0415
    from lightkube.core.exceptions import ApiError  # noqa: PLC0415

    try:
        return ask()
    except ApiError as error:
        code = error.response.status_code
        if code == FORBIDDEN:
            raise PodsUnavailable(
                f"the account may not {verb} pods in namespace {namespace!r}: give it a Role with list and patch on "
                "pods, or set pod_deletion_cost = false",
                60.0,
            ) from None
        pause = _retry_after(error.response.headers.get("Retry-After")) if code == TOO_MANY else PAUSE_SECONDS
        said = error.status.reason or error.status.message
        raise PodsUnavailable(f"the API server says {code} ({said})", pause) from None
    except httpx2.HTTPStatusError as error:  # with a body that is none of Kubernetes'
        raise PodsUnavailable(f"the API server says {error.response.status_code}", PAUSE_SECONDS) from None
    except httpx2.HTTPError as error:
        raise PodsUnavailable(
            f"the API server does not answer ({type(error).__name__})", PAUSE_SECONDS
        ) from None
    except ValueError as error:
        raise PodsUnavailable(f"the API server's answer cannot be read ({error})", PAUSE_SECONDS) from None


def _retry_after(header: str | None) -> float:
    return float(header) if header and header.isdecimal() else PAUSE_SECONDS
