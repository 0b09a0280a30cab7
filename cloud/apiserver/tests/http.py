"""The API by plain HTTP, as the contract tests speak it: whatever a client library would hide is seen here."""

import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import kubernetes.client
import kubernetes.config

TIMEOUT_S = 20.0
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"


@dataclass
class Answer:
    """A response, read to its end."""

    code: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def ok(self) -> Any:
        """The body of a yes; anything else fails the test with the Status."""
        assert self.code in (200, 201, 202), self.body
        return self.body

    def failed(self, code: int, reason: str) -> Any:
        """The Status of a no of this kind; anything else fails the test."""
        assert (self.code, self.body.get("kind"), self.body.get("reason")) == (code, "Status", reason), self.body
        assert self.body["status"] == "Failure"
        assert self.body["code"] == code
        return self.body


class Api:
    """One connection to an API server; not for several threads."""

    def __init__(self, kubeconfig: Path) -> None:
        configuration = kubernetes.client.Configuration()
        kubernetes.config.load_kube_config(  # type: ignore[no-untyped-call]
            str(kubeconfig), client_configuration=configuration
        )
        split = urlsplit(configuration.host)
        assert split.hostname is not None
        self.address = split.hostname, split.port or 443
        self._tls = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        if configuration.cert_file:
            self._tls.load_cert_chain(configuration.cert_file, configuration.key_file)
        token = configuration.get_api_key_with_prefix("BearerToken", "authorization")
        self.headers = {"Authorization": token} if token else {}
        self._connection: http.client.HTTPSConnection | None = None

    def connect(self, timeout_s: float = TIMEOUT_S) -> http.client.HTTPSConnection:
        """A connection of its own."""
        return http.client.HTTPSConnection(*self.address, context=self._tls, timeout=timeout_s)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request; bytes are sent as they are, anything else as JSON."""
        if self._connection is None:
            self._connection = self.connect()
        connection = self._connection
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"Accept": accept, **self.headers, **(headers or {})}
        if data is not None:
            sent["Content-Type"] = content_type
        try:
            connection.request(method, _with_query(path, query), data, sent)
            response = connection.getresponse()
            content = response.read()
        except (http.client.HTTPException, OSError):
            self.close()
            raise
        warnings = tuple(response.headers.get_all("Warning") or ())
        is_json = response.headers.get_content_type() == "application/json"
        return Answer(response.status, json.loads(content) if is_json else content, dict(response.headers), warnings)

    def get(self, path: str, **options: Any) -> Answer:
        """GET."""
        return self.call("GET", path, **options)

    def post(self, path: str, body: Any, **options: Any) -> Answer:
        """POST."""
        return self.call("POST", path, body, **options)

    def put(self, path: str, body: Any, **options: Any) -> Answer:
        """PUT."""
        return self.call("PUT", path, body, **options)

    def patch(self, path: str, body: Any, content_type: str = MERGE, **options: Any) -> Answer:
        """PATCH, a merge patch unless said otherwise."""
        return self.call("PATCH", path, body, content_type=content_type, **options)

    def delete(self, path: str, body: Any = None, **options: Any) -> Answer:
        """DELETE."""
        return self.call("DELETE", path, body, **options)

    @contextmanager
    def watch(
        self, path: str, *, accept: str = "application/json", timeout_s: float = TIMEOUT_S, **query: Any
    ) -> "Iterator[Watching]":
        """A watch on a connection of its own; its headers have arrived when this returns."""
        connection = self.connect(timeout_s)
        try:
            sent = {"Accept": accept, **self.headers}
            connection.request("GET", _with_query(path, {"watch": "true", **query}), None, sent)
            response = connection.getresponse()
            with response:
                yield Watching(response)
        finally:
            connection.close()

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Watching:
    """The lines of a watch."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.response = response

    @property
    def code(self) -> int:
        """The HTTP status."""
        return self.response.status

    def next(self) -> tuple[str, Any]:
        """The next event, (type, object), bookmarks among them; fails the test when there is none in time."""
        line = self.response.readline()
        assert line, "the watch ended"
        event = json.loads(line)
        return event["type"], event["object"]

    def take(self, count: int) -> list[tuple[str, Any]]:
        """That many events, without bookmarks."""
        found: list[tuple[str, Any]] = []
        while len(found) < count:
            type, obj = self.next()
            if type != "BOOKMARK":
                found.append((type, obj))
        return found

    def rest(self) -> list[tuple[str, Any]]:
        """Everything to the end."""
        events = [json.loads(line) for line in self.response.read().splitlines()]
        return [(event["type"], event["object"]) for event in events]


def names(listed: Any) -> list[str]:
    """The names of the objects in a list."""
    return [item["metadata"]["name"] for item in listed["items"]]


def version_of(obj: Any) -> int:
    """The resourceVersion of an object."""
    return int(obj["metadata"]["resourceVersion"])


def _with_query(path: str, query: Mapping[str, Any] | None) -> str:
    return f"{path}?{urlencode(query)}" if query else path
