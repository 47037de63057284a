"""Waiting that a stop ends at once."""

from __future__ import annotations

import asyncio
from datetime import timedelta


async def until(stop: asyncio.Event, longest: timedelta) -> None:
    """Return when *stop* is set, at the latest after *longest*."""
    try:
        async with asyncio.timeout(max(0.0, longest.total_seconds())):
            await stop.wait()
    except TimeoutError:
        return
