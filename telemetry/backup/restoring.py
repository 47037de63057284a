"""
Making a telemetry of a backup: `python -m telemetry restore FOLDER`, then `serve` as ever.

Its settings are those of the service. The next start loads what the log holds, as after a crash.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import structlog

from meshkit.errors import FailedPrecondition
from telemetry.backup import postgres
from telemetry.backup.files import copy_folder
from telemetry.backup.tables import attach
from telemetry.backup.taking import FORMAT, MANIFEST
from telemetry.store.opening import open_store


if TYPE_CHECKING:
    from pathlib import Path

    from telemetry.settings import Settings

log = structlog.get_logger()


async def restore(settings: Settings, backup: Path) -> None:
    """
    Make the state folder, which is empty or absent, what *backup* says, and PostgreSQL's tables.

    Files are shared with the backup where they are on one disk; neither ever writes to them.

    Raises:
        FailedPrecondition: BACKUP_UNREADABLE, BACKUP_ELSEWHERE, STATE_NOT_EMPTY, STORE_TAKEN.
        Unavailable: POSTGRES_UNAVAILABLE.

    """
    _check(settings, backup)
    rows = backup / "postgres"
    if settings.postgres_dsn and rows.exists():
        await postgres.put_back(settings.postgres_dsn, rows)
    async with open_store(settings) as sessions:
        tables = {
            table.name: sorted(table.iterdir(), key=_number)
            for table in (backup / "tables").iterdir()
        }
        await attach(sessions, tables)
    # Last, so that a start of what is half restored finds nothing to load.
    copy_folder(backup / "log", settings.state_dir / "log")
    log.info(
        "restored",
        backup=backup.name,
        parts=sum(map(len, tables.values())),
        segments=len(list((settings.state_dir / "log").glob("*/*.pb"))),
    )


def _check(settings: Settings, backup: Path) -> None:
    try:
        told = json.loads((backup / MANIFEST).read_text())
    except (OSError, ValueError):
        told = {}
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise FailedPrecondition(
            "BACKUP_UNREADABLE", f"{backup} is no backup, or one of another version."
        )
    if settings.clickhouse_url:
        raise FailedPrecondition(
            "BACKUP_ELSEWHERE",
            "The tables are on ClickHouse servers: restore them there (RESTORE ... ON CLUSTER).",
        )
    state = settings.state_dir
    if state.exists() and any(state.iterdir()):
        raise FailedPrecondition(
            "STATE_NOT_EMPTY", f"{state} isn't empty; restore into a new folder."
        )


def _number(part: Path) -> tuple[str, int]:
    """Return the partition of a part and its first block, from `<partition>_<first>_...`."""
    partition, first, *_ = part.name.split("_")
    return partition, int(first)
