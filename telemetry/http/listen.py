"""Serves the HTTP API: mutual TLS on a port, and a Unix socket for the operator."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from aiohttp import web


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
    unix_socket: Path | None,
    grace: timedelta,
) -> AsyncIterator[int]:
    """
    Serve *app* for as long as the block runs; yields the bound TCP port.

    Args:
        address: `host:port`; port 0 picks a free one.
        tls: Must demand the peer's certificate.
        unix_socket: In a folder that only the operator can enter; None: none.
        grace: How long requests under way may take in the end.

    Raises:
        OSError: The address is taken, or not ours.

    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=grace.total_seconds())
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
