"""HTTP beside gRPC: mutual TLS on a port, a Unix socket for the operator, and who is there."""

from __future__ import annotations

import contextlib
import socket
from functools import cache
from typing import TYPE_CHECKING

from aiohttp import web
from cryptography import x509

from meshkit.errors import Unauthenticated
from meshkit.identity import SpiffeId
from meshkit.identity.spiffe import certificate_spiffe_id


if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from datetime import timedelta
    from pathlib import Path


@contextlib.asynccontextmanager
async def listening(
    app: web.Application,
    *,
    address: str,
    tls: ssl.SSLContext,
    unix_socket: Path | None = None,
    grace: timedelta,
    unpack: bool = True,
) -> AsyncIterator[int]:
    """
    Serve *app* for as long as the block runs; yields the bound TCP port.

    Args:
        address: `host:port`; port 0 picks a free one.
        tls: Must demand the peer's certificate.
        unix_socket: In a folder that only the operator can enter; None: none.
        grace: How long requests under way may take in the end.
        unpack: Whether compressed bodies are unpacked before the handlers see them.

    Raises:
        OSError: The address is taken, or not ours.

    """
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=grace.total_seconds(),
        auto_decompress=unpack,
    )
    await runner.setup()
    try:
        host, _, port = address.rpartition(":")
        await web.TCPSite(runner, host.strip("[]"), int(port), ssl_context=tls).start()
        bound = int(runner.addresses[0][1])
        if unix_socket is not None:
            unix_socket.unlink(missing_ok=True)  # noqa: ASYNC240 - once, at start
            await web.UnixSite(runner, unix_socket).start()
        yield bound
    finally:
        await runner.cleanup()


def peer_of(request: web.Request) -> SpiffeId:
    """
    Return who asks: whom the certificate names, or on a Unix socket the operator.

    Raises:
        Unauthenticated: There is no certificate of ours.

    """
    transport = request.transport
    if transport is None:
        raise Unauthenticated("PEER_IDENTITY_INVALID", "The connection is gone.")
    tls = transport.get_extra_info("ssl_object")
    if tls is not None:
        der = tls.getpeercert(binary_form=True)
        if der:
            return certificate_spiffe_id(x509.load_der_x509_certificate(der))
    else:
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family == socket.AF_UNIX:
            return _operator()
    raise Unauthenticated("PEER_IDENTITY_INVALID", "The peer has shown no certificate.")


@cache
def _operator() -> SpiffeId:
    return SpiffeId("operator", "local")
