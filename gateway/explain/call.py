"""The request that is asked about, and who is said to make it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class Body(enum.StrEnum):
    """What the request carries."""

    NONE = "none"
    GRPC = "grpc"
    GRPC_WEB = "grpc-web"
    GRPC_WEB_TEXT = "grpc-web-text"
    JSON = "json"
    OTHER = "other"


CONTENT_TYPES = {
    Body.GRPC: "application/grpc",
    Body.GRPC_WEB: "application/grpc-web+proto",
    Body.GRPC_WEB_TEXT: "application/grpc-web-text+proto",
    Body.JSON: "application/json",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request as the edge gets it. Header names are lower-case."""

    method: str
    path: str
    """With its query."""

    scheme: str = "https"
    host: str = "localhost"
    server_name: str = ""
    """SNI of the TLS connection; empty: none was sent."""

    headers: tuple[tuple[str, str], ...] = ()
    remote_address: str = "127.0.0.1"
    client_uris: tuple[str, ...] = ()
    """URIs in the client's certificate, if it showed one that is good."""

    client_names: tuple[str, ...] = ()
    """DNS names in it."""

    body: Body = Body.NONE
    claims: Mapping[str, Any] | None = None
    """Claims of a token that is taken to be good; None: what the headers hold counts."""

    partial_claims: bool = False
    """The claims may be more than those given, as in an access log."""

    random: int | None = None
    """What a weighted split is decided with, 0 and more; None: all its clusters are told."""

    now: float = 0.0
    """Unix time in seconds, for the times in tokens."""


@dataclass(slots=True)
class Headers:
    """Request headers as the filters change them; names are lower-case, pseudo-headers too."""

    values: dict[str, list[str]] = field(default_factory=dict)

    def get(self, name: str) -> str | None:
        """Return the value, of several joined with commas; None: it isn't there."""
        found = self.values.get(name)
        return ",".join(found) if found else None

    def set(self, name: str, value: str) -> None:
        self.values[name] = [value]

    def add(self, name: str, value: str) -> None:
        self.values.setdefault(name, []).append(value)

    def remove(self, name: str) -> None:
        self.values.pop(name, None)

    @property
    def path(self) -> str:
        return self.get(":path") or ""

    @property
    def is_grpc(self) -> bool:
        """Whether Envoy takes it for a gRPC request."""
        kind = self.get("content-type") or ""
        return kind == "application/grpc" or kind.startswith("application/grpc+")


def headers_of(call: Call) -> Headers:
    """Return the headers as they arrive, pseudo-headers included."""
    made = Headers()
    for name, value in (
        (":method", call.method),
        (":scheme", call.scheme),
        (":authority", call.host),
        (":path", call.path),
    ):
        made.set(name, value)
    for name, value in call.headers:
        made.add(name.lower(), value)
    kind = CONTENT_TYPES.get(call.body)
    if kind is not None and made.get("content-type") is None:
        made.set("content-type", kind)
    return made
