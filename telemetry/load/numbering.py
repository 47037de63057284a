"""Numbers of segments that no row has."""

# ruff: noqa: S608 - names of our tables

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry.load.statements import TABLES
from telemetry.log.segments import replace


if TYPE_CHECKING:
    from pathlib import Path

    from telemetry.store.sessions import Sessions


async def continue_numbers(folder: Path, sessions: Sessions) -> None:
    """
    Make the log's folder; beside tables that aren't new, go on behind their highest segment.

    Otherwise rows of an old segment would be taken for those of a new one, and deleted.

    Raises:
        StoreFailed: The store refused a statement.

    """
    folder.mkdir(exist_ok=True)  # noqa: ASYNC240 - once, at start
    path = folder / "next"
    if path.exists():
        return
    highest = 0
    for table in sorted({table for tables in TABLES.values() for table in tables}):
        highest = max(highest, int(await sessions.execute(f"SELECT max(segment) FROM {table}")))
    if highest:
        replace(path, str(highest + 1).encode())
