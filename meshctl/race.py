"""Waiting for the first of several things."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any


async def first_of(*things: Awaitable[Any]) -> None:
    """
    Return when one of *things* is done; the others are cancelled.

    Whatever they return or raise is for whoever holds the future; give one
    through `asyncio.shield` and it goes on.
    """
    futures = [asyncio.ensure_future(thing) for thing in things]
    try:
        await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for future in futures:
            future.cancel()
        await asyncio.gather(*futures, return_exceptions=True)
