"""Ordinary HTTP sites at the edge, and their certificates."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from gateway.model.access import Access
from gateway.model.route import (
    Destination,
    DirectResponse,
    HeaderChanges,
    HeaderMatch,
    Mirror,
    Retry,
)


INTERNAL: Final = {"internal": True}
"""Marks fields that the contract doesn't have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryMatch:
    """A condition on a query parameter: exactly one of the three is set."""

    name: str
    exact: str | None = None
    prefix: str | None = None
    present: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpMatch:
    """Which requests; all conditions must hold, and at most one of the path's is set."""

    exact_path: str | None = None
    path_prefix: str | None = None
    """This or below."""

    path_regex: str | None = None
    methods: tuple[str, ...] = ()
    headers: tuple[HeaderMatch, ...] = ()
    query: tuple[QueryMatch, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """How a path is rewritten: exactly one is set."""

    prefix: str | None = None
    full: str | None = None
    substitution: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """Requests are passed on."""

    destinations: tuple[Destination, ...]
    rewrite: Rewrite | None = None
    host: str = ""
    """Empty: the one that was sent."""

    timeout: timedelta = timedelta(seconds=30)
    retry: Retry | None = None
    mirrors: tuple[Mirror, ...] = ()
    upgrades: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """Requests are sent elsewhere; at most one of the paths is set."""

    host: str = ""
    full_path: str | None = None
    prefix: str | None = None
    status: int = 307
    strip_query: bool = False
    port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRule:
    """One row of a host's table: exactly one of the three actions is set."""

    id: str
    match: HttpMatch = HttpMatch()
    forward: Forward | None = None
    redirect: Redirect | None = None
    direct_response: DirectResponse | None = None
    request_headers: HeaderChanges = HeaderChanges()
    response_headers: HeaderChanges = HeaderChanges()
    access: Access | None = None
    """None: the host's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcLogin:
    """Sign-in of browsers with OpenID Connect."""

    issuer: str
    """`issuers/{issuer}`."""

    authorization_endpoint: str
    token_endpoint: str
    token_service: str
    """`services/{service}` behind `token_endpoint`."""

    client_id: str
    client_secret: str = field(default="", repr=False)
    """Sealed, base64; "" in a change: the one there is stays."""

    scopes: tuple[str, ...] = ()
    """Empty: `openid`."""

    redirect_path: str = "/oauth2/callback"
    signout_path: str = "/oauth2/signout"
    end_session_endpoint: str = ""
    """Empty: browsers that sign out are sent to the host's `/`."""

    session_generation: int = 0
    """Another one than before ends all sessions."""

    cookie_secret: str = field(default="", repr=False, metadata=INTERNAL)
    """What cookies are sealed with; sealed itself, base64. The gateway makes it."""


def client_secret_of(host: str) -> str:
    """Return the name of the secret by which a host's provider knows it."""
    return f"{host}/login/client"


def cookie_secret_of(host: str) -> str:
    """Return the name of the secret that a host's cookies are sealed with."""
    return f"{host}/login/cookies"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """An HTTP site: its names, and what is done with requests to them."""

    name: str
    """`hosts/{host}`."""

    description: str = ""
    domains: tuple[str, ...]
    rules: tuple[HttpRule, ...]
    access: Access = Access()
    cors_origins: tuple[str, ...] = ()
    certificate: str = ""
    """`certificates/{certificate}`; empty: the edge's own."""

    login: OidcLogin | None = None

    @property
    def id(self) -> str:
        return self.name.removeprefix("hosts/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate for hosts."""

    name: str
    """`certificates/{certificate}`."""

    description: str = ""
    chain_pem: str
    private_key_pem: str = field(default="", repr=False)
    """Sealed, base64; "" in a change: the one there is stays."""

    domains: tuple[str, ...] = ()
    """Names it is good for; read from the chain."""

    expire_time: datetime | None = None
    """Read from the chain."""
