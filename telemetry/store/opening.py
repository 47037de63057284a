"""Which ClickHouse the settings ask for."""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING

from telemetry.log.segments import replace
from telemetry.store.cluster import Address, Cluster
from telemetry.store.sessions import SessionLimits, Sessions


if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from telemetry.settings import Settings


@contextlib.asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[Sessions]:
    """
    Open the tables: in the state folder, or where `clickhouse_url` says.

    Raises:
        FailedPrecondition: `STORE_TAKEN`: another process or folder writes to them.
        Unavailable: `STORE_AWAY`.

    """
    state = settings.state_dir
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    limits = SessionLimits(
        readers=settings.store_readers, memory_bytes_max=settings.store_memory_bytes_max
    )
    engine = _cluster(settings) if settings.clickhouse_url else None
    async with Sessions.open(state / "store", limits, engine) as sessions:
        yield sessions


def _cluster(settings: Settings) -> Cluster:
    password = settings.clickhouse_password_file
    address = Address(
        url=settings.clickhouse_url,
        password=password.read_text().strip() if password else "",
        ca=settings.clickhouse_ca_file,
        cluster=settings.clickhouse_cluster,
    )
    return Cluster(address, _name_of(settings.state_dir))


def _name_of(state: Path) -> str:
    """Return the name of the state folder, given to it when it was first used."""
    path = state / "name"
    if not path.exists():
        replace(path, str(uuid.uuid4()).encode())
    return path.read_text()
