"""Tables of the store as folders of parts: frozen, and attached again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

from telemetry.backup.files import link_folder
from telemetry.store.engine import quote


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from telemetry.store.sessions import Sessions

STAGE = "freezing"
"""Name of what is frozen, while a backup is made."""


async def freeze(sessions: Sessions) -> None:
    """Give all parts of all tables second names, as of one moment. Raises StoreFailed."""
    tables = await _folders(sessions)
    await sessions.execute_all([f"ALTER TABLE {one} FREEZE WITH NAME '{STAGE}'" for one in tables])


async def frozen(sessions: Sessions, store: Path) -> dict[str, Sequence[Path]]:
    """Return the folders of the parts that were frozen, by table. Raises StoreFailed."""
    folders = await _folders(sessions)
    return await asyncio.to_thread(_parts, store, folders)


async def attach(sessions: Sessions, tables: Mapping[str, Sequence[Path]]) -> None:
    """Make *tables*, which are empty, of folders of parts. Raises StoreFailed."""
    folders = await _folders(sessions)
    for table, parts in tables.items():
        for part in parts:
            await asyncio.to_thread(link_folder, part, folders[table] / "detached" / part.name)
        # In the order they had, which is that of their numbers.
        await sessions.execute_all(
            [f"ALTER TABLE {table} ATTACH PART {quote(part.name)}" for part in parts]
        )


def _parts(store: Path, folders: Mapping[str, Path]) -> dict[str, Sequence[Path]]:
    shadow = store / "shadow" / STAGE
    return {
        table: sorted((shadow / folder.resolve().relative_to(store.resolve())).glob("*"))
        for table, folder in folders.items()
    }


async def _folders(sessions: Sessions) -> dict[str, Path]:
    answer = await sessions.execute(
        "SELECT name, data_paths[1] FROM system.tables"
        " WHERE database = currentDatabase() AND engine LIKE '%MergeTree' ORDER BY name",
        "JSONCompactEachRow",
    )
    rows = [json.loads(line) for line in answer.splitlines()]
    return {table: Path(folder) for table, folder in rows}
