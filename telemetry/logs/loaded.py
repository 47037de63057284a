"""How far the log's segments are in the tables: whoever follows logs waits for the next."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from telemetry.scan.shapes import Signal


if TYPE_CHECKING:
    from telemetry.log.segments import Segment


class Loaded:
    """The newest segment of log records whose rows are all there. For one event loop."""

    def __init__(self) -> None:
        self.through = 0
        """Its number; 0: none was loaded since the start. Numbers rise, over starts as well."""

        self._next = asyncio.Event()

    def note(self, segment: Segment) -> None:
        """Tell that *segment* is loaded."""
        if segment.signal is Signal.LOGS:
            self.through = max(self.through, segment.number)
            self._next.set()
            self._next = asyncio.Event()

    async def after(self, number: int) -> int:
        """Return the newest segment's number once it is above *number*."""
        while self.through <= number:
            await self._next.wait()
        return self.through
