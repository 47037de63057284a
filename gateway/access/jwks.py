"""
Fetches the key sets of issuers that have theirs elsewhere, once for all edges.

An address comes from an operator, and still it is not trusted: only https, no redirects, no
address of this network unless the settings name it, little time and little space. What was good
last stays good while the source is away, also over a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
import socket
import ssl
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import structlog
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from gateway.access import store
from gateway.validation.jwks import JWKS_LENGTH_MAX, reduced
from meshkit.errors import MeshError
from meshkit.postgres import unavailable_on_lost_connection


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    import asyncpg

    from gateway.model import Issuer, RemoteJwks

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

TIMEOUT: Final = timedelta(seconds=5)
RETRY_FIRST: Final = timedelta(seconds=1)
RETRY_MAX: Final = timedelta(minutes=1)
LOOK_S: Final = 0.5
"""How soon a new issuer is seen."""

JITTER: Final = 0.1
HTTPS_PORT: Final = 443
MAPPED: Final = ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
"""IPv6 networks whose addresses stand for IPv4 ones, any at all."""

log = structlog.get_logger(__name__)


class Forbidden(OSError):
    """An address is none that may be asked."""


def is_allowed(address: str, allowed: Sequence[Network]) -> bool:
    """Return whether key sets may be fetched from *address*: a public one, or one *allowed*."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if any(ip.version == one.version and ip in one for one in allowed):
        return True
    if ip.version == 6 and any(ip in ipaddress.ip_network(one) for one in MAPPED):
        return False
    return ip.is_global and not ip.is_multicast


class _Resolver(AbstractResolver):
    """Resolves names to allowed addresses alone; the connection goes to what was looked at."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, family=family
        )
        addresses = [str(one[4][0]) for one in found]
        if not addresses or not all(is_allowed(one, self._allowed) for one in addresses):
            raise Forbidden(f"{host} has an address that may not be asked")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=one[0],
                proto=one[2],
                flags=socket.AI_NUMERICHOST,
            )
            for one, address in zip(found, addresses, strict=True)
        ]

    async def close(self) -> None:
        """Nothing is held."""


async def fetch(source: RemoteJwks, allowed: Sequence[Network]) -> str:
    """
    Return the key set at *source*, reduced.

    Raises:
        OSError: It can't be reached, or may not be.
        ValueError: What it answers is no key set.

    """
    url = URL(source.uri)
    if url.scheme != "https" or not url.host or url.user is not None:
        raise Forbidden("only https is asked")
    with contextlib.suppress(ValueError):
        if not is_allowed(url.host, allowed):
            raise Forbidden(f"{url.host} may not be asked")
    trusted = ssl.create_default_context(cadata=source.ca_pem or None)
    trusted.minimum_version = ssl.TLSVersion.TLSv1_2
    connector = aiohttp.TCPConnector(ssl=trusted, resolver=_Resolver(allowed), force_close=True)
    try:
        async with (
            asyncio.timeout(TIMEOUT.total_seconds()),
            aiohttp.ClientSession(
                connector=connector, trust_env=False, auto_decompress=False
            ) as session,
            session.get(
                url,
                allow_redirects=False,
                headers={"accept": "application/json", "accept-encoding": "identity"},
            ) as answer,
        ):
            if answer.status != 200:
                raise ValueError(f"it answers {answer.status}")
            text = await _read(answer)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise OSError(f"{type(error).__name__}: {error}"[:200]) from error
    return reduced(text)


async def _read(answer: aiohttp.ClientResponse) -> str:
    body = b""
    async for part in answer.content.iter_chunked(16_384):
        body += part
        if len(body) > JWKS_LENGTH_MAX:
            raise ValueError("it answers more than a key set may have")
    return body.decode()


class IssuerKeys:
    """
    Keeps the fetched key sets fresh. `start` comes first.

    Args:
        issuers: Tells the issuers as they are in the catalog now.
        published: Called with `issuer_keys`, a field of `Inputs`; must not block.
        allowed: Networks of ours that may be asked.

    """

    def __init__(
        self,
        *,
        pool: asyncpg.Pool[Any],
        clock: Callable[[], datetime],
        issuers: Callable[[], Mapping[str, Issuer]],
        published: Callable[..., None],
        allowed: Sequence[Network],
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._issuers = issuers
        self._published = published
        self._allowed = allowed
        self._keys: dict[str, tuple[str, str]] = {}
        """By issuer: address and key set."""

        self._tasks: dict[str, tuple[RemoteJwks, asyncio.Task[None]]] = {}

    async def start(self) -> None:
        """
        Take up what was fetched before.

        Raises:
            Unavailable: The database is away.

        """
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection:
                rows = await store.issuer_keys(connection)
        self._keys = {issuer: (uri, jwks) for issuer, uri, jwks in rows}
        # All of them: the catalog isn't read yet, and without keys an issuer has no provider.
        self._published(issuer_keys={issuer: jwks for issuer, _, jwks in rows})

    async def run(self) -> None:
        """Follow the catalog's issuers until cancelled."""
        seen: Mapping[str, Issuer] | None = None
        try:
            while True:
                issuers = self._issuers()
                if issuers is not seen:
                    seen = issuers
                    self._follow(issuers)
                await asyncio.sleep(LOOK_S)
        finally:
            for _, task in self._tasks.values():
                task.cancel()
            await asyncio.gather(
                *(task for _, task in self._tasks.values()), return_exceptions=True
            )

    def _follow(self, issuers: Mapping[str, Issuer]) -> None:
        wanted = {one.name: one.remote_jwks for one in issuers.values() if one.remote_jwks}
        for name, (source, task) in list(self._tasks.items()):
            if wanted.get(name) != source:
                task.cancel()
                del self._tasks[name]
        for name, source in wanted.items():
            if name not in self._tasks:
                task = asyncio.create_task(self._keep(name, source), name=f"jwks {name}")
                self._tasks[name] = (source, task)
        self._publish()

    async def _keep(self, name: str, source: RemoteJwks) -> None:
        retry = RETRY_FIRST
        while True:
            try:
                jwks = await fetch(source, self._allowed)
                await self._take(name, source.uri, jwks)
            except (OSError, ValueError, MeshError) as error:
                log.warning("issuer_keys_unread", issuer=name, error=str(error)[:200])
                pause, retry = retry, min(2 * retry, RETRY_MAX, source.refresh_interval)
            else:
                pause, retry = source.refresh_interval, RETRY_FIRST
            await asyncio.sleep(pause.total_seconds() * (1 - JITTER * random.random()))  # noqa: S311

    async def _take(self, name: str, uri: str, jwks: str) -> None:
        if self._keys.get(name) == (uri, jwks):
            return
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection:
                await store.put_issuer_keys(connection, name, uri, jwks, self._clock())
        self._keys[name] = (uri, jwks)
        log.info("issuer_keys_changed", issuer=name)
        self._publish()

    def _publish(self) -> None:
        """Publish the sets that are from where the catalog says they are."""
        issuers = self._issuers()
        self._published(
            issuer_keys={
                name: jwks
                for name, (uri, jwks) in self._keys.items()
                if (one := issuers.get(name)) is not None
                and one.remote_jwks is not None
                and one.remote_jwks.uri == uri
            }
        )
