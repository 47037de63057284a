"""The reference's parts, joined and served."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from gateway.reference.http import make_app
from gateway.reference.library import Library
from meshkit.http import listening
from meshkit.serving import ListenFailed


if TYPE_CHECKING:
    from gateway.control import Control
    from gateway.settings import Settings
    from meshkit.identity import Workload

log = structlog.get_logger()


async def serve(
    settings: Settings, workload: Workload, control: Control, stopping: asyncio.Event
) -> None:
    """
    Serve the reference until *stopping* is set; not at all without `reference_listen`.

    Raises:
        ListenFailed: The address is taken, or not ours.

    """
    if not settings.reference_listen:
        return
    site = listening(
        make_app(Library(lambda: control.catalog)),
        address=settings.reference_listen,
        tls=workload.server_ssl_context(),
        grace=settings.shutdown_grace,
    )
    try:
        async with site as port:
            log.info("serving_reference", port=port)
            await stopping.wait()
    except OSError as error:
        raise ListenFailed(f"cannot listen on {settings.reference_listen}: {error}") from None
