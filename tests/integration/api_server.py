"""A test double of the Kubernetes API server: pods of one namespace, and strict about everything that it is asked."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

COST = "controller.kubernetes.io/pod-deletion-cost"
SELECTOR = {"app.kubernetes.io/name=littleq", "app.kubernetes.io/component=worker"}
PATCHES = ("application/merge-patch+json", "application/strategic-merge-patch+json")


class ApiServer:
    """On loopback, over plain HTTP: the client is told so by a kubeconfig.

    Attributes:
        pods: by name.
        wrong: what it was asked that it should not be.
        patched: names and costs, in order.
        answer: a status that all requests get, with headers; None: the right one.
    """

    def __init__(self, namespace: str = "shop", token: str = "s3cret-token") -> None:
        self.namespace, self.token = namespace, token
        self.pods: dict[str, dict[str, Any]] = {}
        self.wrong: list[str] = []
        self.patched: list[tuple[str, int]] = []
        self.gone: set[str] = set()
        self.answer: tuple[int, dict[str, str]] | None = None
        self.requests = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.serve(self)

            do_PATCH = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - names of http.server

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def add(self, name: str, queue: str = "q", cost: str | None = None, **metadata: Any) -> None:
        annotations = {"littleq-queue": queue} if cost is None else {"littleq-queue": queue, COST: cost}
        labels = dict(pair.split("=") for pair in SELECTOR)
        self.pods[name] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": self.namespace,
                "labels": labels,
                "annotations": annotations,
                **metadata,
            },
            "spec": {"containers": [{"name": "worker"}]},
        }

    def cost(self, name: str) -> int:
        return int(self.pods[name]["metadata"]["annotations"].get(COST, 0))

    def kubeconfig(self, folder: Path) -> Path:
        path = folder / "kubeconfig"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "test",
                    "clusters": [{"name": "test", "cluster": {"server": self.url}}],
                    "users": [{"name": "test", "user": {"token": self.token}}],
                    "contexts": [
                        {
                            "name": "test",
                            "context": {"cluster": "test", "user": "test", "namespace": self.namespace},
                        }
                    ],
                }
            )
        )
        return path

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        self.requests += 1
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if self.answer is not None:
            code, headers = self.answer
            self._say(request, code, _status(code), headers)
            return
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            self.wrong.append(f"token {request.headers.get('Authorization')}")
            self._say(request, 401, _status(401))
            return
        parts = urlsplit(request.path)
        base = f"/api/v1/namespaces/{self.namespace}/pods"
        if request.command == "GET" and parts.path == base:
            self._list(request, parse_qs(parts.query))
        elif request.command == "PATCH" and parts.path.startswith(f"{base}/"):
            self._patch(request, parts.path.removeprefix(f"{base}/"), body)
        else:
            self._refuse(request, f"{request.command} {request.path}")

    def _list(self, request: BaseHTTPRequestHandler, query: dict[str, list[str]]) -> None:
        if set(query.get("labelSelector", [""])[0].split(",")) != SELECTOR:
            self._refuse(request, f"selector {query}")
            return
        items = list(self.pods.values())
        self._say(request, 200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})

    def _patch(self, request: BaseHTTPRequestHandler, name: str, body: bytes) -> None:
        if request.headers.get("Content-Type") not in PATCHES:
            self._refuse(request, f"content type {request.headers.get('Content-Type')}")
            return
        if name not in self.pods or name in self.gone:
            self._say(request, 404, _status(404))
            return
        change = json.loads(body)
        annotations = change.get("metadata", {}).get("annotations", {})
        cost = annotations.get(COST)
        if change != {"metadata": {"annotations": {COST: cost}}} or str(int(cost)) != cost:
            self._refuse(request, f"patch {change}")
            return
        self.pods[name]["metadata"]["annotations"][COST] = cost
        self.patched.append((name, int(cost)))
        self._say(request, 200, self.pods[name])

    def _refuse(self, request: BaseHTTPRequestHandler, what: str) -> None:
        self.wrong.append(what)
        self._say(request, 400, _status(400))

    @staticmethod
    def _say(
        request: BaseHTTPRequestHandler, code: int, body: Any, headers: dict[str, str] | None = None
    ) -> None:
        data = json.dumps(body).encode()
        request.send_response(code)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)


def _status(code: int) -> dict[str, Any]:
    reasons = {
        400: "BadRequest",
        401: "Unauthorized",
        403: "Forbidden",
        404: "NotFound",
        429: "TooManyRequests",
    }
    reason = reasons.get(code, "InternalError")
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": reason,
        "message": reason,
        "code": code,
    }
