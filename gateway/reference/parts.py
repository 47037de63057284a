"""The reference's parts, joined and served."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import structlog

from gateway.reference.http import make_app
from gateway.reference.library import Library
from meshkit.http import listening
from meshkit.serving import ListenFailed


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.model import Catalog
    from gateway.settings import Settings
    from meshkit.identity import Workload

log = structlog.get_logger()


@contextlib.asynccontextmanager
async def served(
    settings: Settings, workload: Workload, catalog: Callable[[], Catalog]
) -> AsyncIterator[None]:
    """
    Serve the reference for as long as the block runs; not at all without `reference_listen`.

    Raises:
        ListenFailed: The address is taken, or not ours.

    """
    if not settings.reference_listen:
        yield
        return
    async with contextlib.AsyncExitStack() as stack:
        site = listening(
            make_app(Library(catalog)),
            address=settings.reference_listen,
            tls=workload.server_ssl_context(),
            grace=settings.shutdown_grace,
        )
        try:
            port = await stack.enter_async_context(site)
        except OSError as error:
            raise ListenFailed(f"cannot listen on {settings.reference_listen}: {error}") from None
        log.info("serving_reference", port=port)
        yield
