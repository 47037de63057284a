"""
Taking a backup of a running telemetry.

Between two segments, the loader waits while the log's files get second names and the tables are
frozen, which gives their parts second names: milliseconds. So each row of what was acknowledged is
in the tables or in the log, as after a crash. All that was named is copied afterwards, the parts
that the backup before has too by second names again.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog
from opentelemetry.metrics import Observation

from meshkit.errors import FailedPrecondition, MeshError, Unavailable
from telemetry.backup import postgres
from telemetry.backup.files import copy_folder, copy_part, link, size_of, sync
from telemetry.backup.tables import STAGE, freeze, frozen
from telemetry.log.segments import replace, sync_folder
from telemetry.store.engine import StoreFailed


if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from opentelemetry.metrics import Meter

    from telemetry.load.loader import Loader
    from telemetry.settings import Settings
    from telemetry.store.sessions import Sessions

log = structlog.get_logger()

MANIFEST = "backup.json"
FORMAT = 1
PAUSE_WITHIN_S = 20.0
"""How long to wait for the loader to be between two segments."""

_DRAFTS = ".[0-9]*T[0-9]*Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A backup that is there."""

    folder: Path
    time_ns: int
    """The moment that it is of, Unix nanoseconds."""

    size_bytes: int
    """Length of its files, those that it shares with others too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A backup that was just made."""

    backup: Backup
    seconds: float
    copied_bytes: int


class Backups:
    """Takes backups and knows those that are there. `run` until cancelled."""

    def __init__(self, settings: Settings, sessions: Sessions, loader: Loader) -> None:
        self._settings = settings
        self._sessions = sessions
        self._loader = loader
        self._taking: asyncio.Task[Taken] | None = None
        self._newest_ns = 0

    async def run(self) -> None:
        """Take one each `backup_every`, if that says so."""
        every_s = self._settings.backup_every.total_seconds()
        if self._settings.backup_dir is None or not every_s:
            return
        while True:
            try:
                await self.take()
            except MeshError as error:
                log.warning("backup_failed", reason=error.reason, error=str(error))
            await asyncio.sleep(every_s)

    async def take(self) -> Taken:
        """
        Take one; it is finished even if the caller is cancelled.

        Raises:
            FailedPrecondition: BACKUPS_OFF, BACKUP_RUNNING, BACKUP_ELSEWHERE.
            Unavailable: BACKUP_FAILED, POSTGRES_UNAVAILABLE.

        """
        folder = self._folder()
        if self._settings.clickhouse_url:
            raise FailedPrecondition(
                "BACKUP_ELSEWHERE",
                "The tables are on ClickHouse servers: back them up there (BACKUP ... ON CLUSTER).",
            )
        if self._taking is not None and not self._taking.done():
            raise FailedPrecondition("BACKUP_RUNNING", "A backup is being made; wait for its end.")
        self._taking = asyncio.create_task(self._take(folder))
        return await asyncio.shield(self._taking)

    async def all(self) -> Sequence[Backup]:
        """Return those that are there, the newest first; raises FailedPrecondition BACKUPS_OFF."""
        return await asyncio.to_thread(_all, self._folder())

    def publish(self, meter: Meter) -> None:
        """Tell how old the newest backup is."""
        meter.create_observable_gauge(
            "telemetry.backup.time",
            [lambda _: [Observation(self._newest_ns / 1e9)]],
            unit="s",
            description="Moment that the newest backup of this run is of, Unix time; 0: none yet",
        )

    def _folder(self) -> Path:
        if self._settings.backup_dir is None:
            raise FailedPrecondition(
                "BACKUPS_OFF", "There is no folder for backups; set TELEMETRY_BACKUP_DIR."
            )
        return self._settings.backup_dir

    async def _take(self, folder: Path) -> Taken:
        began = time.monotonic()
        draft = folder / f".{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
        state = self._settings.state_dir
        try:
            await asyncio.to_thread(_begin, state, folder, draft)
            async with asyncio.timeout(PAUSE_WITHIN_S):
                await self._loader.between.acquire()
            try:
                time_ns = time.time_ns()
                await asyncio.to_thread(_stage_log, state)
                await freeze(self._sessions)
            finally:
                self._loader.between.release()
            tables = await frozen(self._sessions, state / "store")
            copied = await asyncio.to_thread(_copy, state, draft, _newest(folder), tables)
            if self._settings.postgres_dsn:
                await postgres.save(self._settings.postgres_dsn, draft / "postgres")
            backup = await asyncio.to_thread(_finish, draft, time_ns, self._settings.backups_kept)
        except (OSError, StoreFailed, TimeoutError) as error:
            raise Unavailable(
                "BACKUP_FAILED", "The backup could not be made.", error=str(error)[:300]
            ) from error
        finally:
            await asyncio.to_thread(_clean, state, draft)
        self._newest_ns = time_ns
        return Taken(backup=backup, seconds=time.monotonic() - began, copied_bytes=copied)


def _begin(state: Path, folder: Path, draft: Path) -> None:
    for left in folder.glob(_DRAFTS):
        shutil.rmtree(left)
    _clean(state, draft)
    draft.mkdir(parents=True, mode=0o700)


def _clean(state: Path, draft: Path) -> None:
    for one in (state / STAGE, state / "store" / "shadow" / STAGE, draft):
        shutil.rmtree(one, ignore_errors=True)


def _stage_log(state: Path) -> None:
    """Give the log's files second names; those still written to may grow by whole records."""
    source, stage = state / "log", state / STAGE
    stage.mkdir()
    for path in source.rglob("*"):
        if path.is_dir() or path.suffix in {".part", ".draft"}:
            continue
        target = stage / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Others are replaced and never written to, so a name keeps them as they are.
        link(path, target)


def _copy(state: Path, draft: Path, earlier: Path | None, tables: dict[str, Sequence[Path]]) -> int:
    copied = copy_folder(state / STAGE, draft / "log")
    for table, parts in tables.items():
        (draft / "tables" / table).mkdir(parents=True)
        for part in parts:
            place = f"tables/{table}/{part.name}"
            before = earlier / place if earlier is not None else None
            copied += copy_part(part, draft / place, before)
        sync_folder(draft / "tables" / table)
    return copied


def _finish(draft: Path, time_ns: int, kept: int) -> Backup:
    """Give *draft* its name, and remove those that are too many."""
    for table in (draft / "postgres").glob("*.csv"):
        sync(table)
    size = size_of(draft)
    manifest = {"format": FORMAT, "time_ns": time_ns, "size_bytes": size}
    replace(draft / MANIFEST, json.dumps(manifest).encode())
    folder = draft.with_name(draft.name[1:])
    draft.rename(folder)
    sync_folder(folder.parent)
    for old in _all(folder.parent)[kept:]:
        shutil.rmtree(old.folder)
    return Backup(folder=folder, time_ns=time_ns, size_bytes=size)


def _all(folder: Path) -> list[Backup]:
    found = []
    for path in sorted(folder.glob(f"[!.]*/{MANIFEST}"), reverse=True):
        told = json.loads(path.read_text())
        found.append(
            Backup(folder=path.parent, time_ns=told["time_ns"], size_bytes=told["size_bytes"])
        )
    return found


def _newest(folder: Path) -> Path | None:
    there = _all(folder)
    return there[0].folder if there else None
