"""Everything that can be configured about syncd."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from meshkit.settings import MeshSettings, Range


@dataclass(frozen=True, kw_only=True)
class Settings(MeshSettings):
    """Each field is read from `SYNCD_<FIELD>`; durations are in seconds."""

    postgres_connections: Annotated[int, Range(1, 200)] = 8
    """Connections to PostgreSQL; also the transactions under way at once."""

    heartbeat: Annotated[timedelta, Range(0.1, 300)] = timedelta(seconds=15)
    """How long a session's stream may be silent."""

    session_age_max: Annotated[timedelta, Range(1, 86400)] = timedelta(minutes=9)
    """How long one stream lasts; the device then comes back with a fresh token."""

    session_keep: Annotated[timedelta, Range(1, 86400)] = timedelta(minutes=10)
    """How long a session without a stream is remembered."""

    write_timeout: Annotated[timedelta, Range(1, 600)] = timedelta(seconds=60)
    """How long a device may take nothing from its stream before it is ended."""

    come_back_after: Annotated[timedelta, Range(0, 60)] = timedelta(seconds=1)
    """How long devices are told to wait when this process stops."""

    coalesce: Annotated[timedelta, Range(0, 5)] = timedelta(milliseconds=20)
    """Changes within this time go out as one frame."""

    poll: Annotated[timedelta, Range(0.05, 60)] = timedelta(seconds=1)
    """How often followed spaces are looked at without a hint."""

    frame_cache_bytes: Annotated[int, Range(0, 2**31)] = 32 * 1024 * 1024
    """Memory for encoded deltas that others may want as well."""

    sweep: Annotated[timedelta, Range(1, 86400)] = timedelta(hours=1)
    """How often what is too old is removed."""

    def __post_init__(self) -> None:
        if not self.postgres_dsn:
            raise ValueError("SYNCD_POSTGRES_DSN: must be set")
