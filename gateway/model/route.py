"""Where a gRPC service's calls go, besides to the service that offers it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from gateway.model.access import Access


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderMatch:
    """A condition on a request header: exactly one of the three is set."""

    name: str
    exact: str | None = None
    prefix: str | None = None
    present: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """One of the places a route's calls go to."""

    service: str
    """`services/{service}`."""

    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Attempts after the first."""

    attempts_max: int
    per_try_timeout: timedelta | None = None
    hedge: bool = False
    """An attempt that takes longer gets a rival instead of an end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """A destination that gets copies."""

    service: str
    """`services/{service}`."""

    percent: float = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderValue:
    """A header and a value."""

    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderChanges:
    """Changes of headers: first removed, then set."""

    set: tuple[HeaderValue, ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectResponse:
    """An answer of the edge's own."""

    status: int
    body: str = ""
    content_type: str = "text/plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """An exception from the rule that a gRPC service's calls go to who offers it."""

    name: str
    """`services/{service}/routes/{route}`."""

    description: str = ""
    grpc_service: str
    grpc_method: str = ""
    """Empty: every method."""

    headers: tuple[HeaderMatch, ...] = ()
    destinations: tuple[Destination, ...] = ()
    timeout: timedelta | None = None
    """Of unary methods; None: the service's."""

    retry: Retry | None = None
    access: Access | None = None
    """None: the service's."""

    mirrors: tuple[Mirror, ...] = ()
    request_headers: HeaderChanges = HeaderChanges()
    response_headers: HeaderChanges = HeaderChanges()
    direct_response: DirectResponse | None = None
    """Answers in place of any destination."""

    @property
    def service(self) -> str:
        """Name of the service it belongs to."""
        return self.name.partition("/routes/")[0]

    def precedence(self) -> tuple[bool, int, str]:
        """Return the key by which the more particular of two routes comes first."""
        return (not self.grpc_method, -len(self.headers), self.name)
