"""What discovery must remember: contents that were refused, and what nodes may hold unsaid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.xds.resources import BY_KEY, Resource
from gateway.xds.subscription import Refusal
from gateway.xds.verdicts import Verdict
from meshkit.postgres import unavailable_on_lost_connection


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import asyncpg

    from gateway.xds.doubts import Names
    from gateway.xds.verdicts import Key

VERDICTS_MAX: Final = 2_000
"""Rows kept; the oldest go."""

DOUBTS_MAX: Final = 10_000

_UPSERT: Final = """
INSERT INTO xds_verdicts (flavour, type, name, version, error, node_id, lifted, create_time,
                          served_version, served)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (flavour, type, name) DO UPDATE SET version = excluded.version,
    error = excluded.error, node_id = excluded.node_id, lifted = excluded.lifted,
    create_time = excluded.create_time,
    served_version = coalesce(excluded.served_version, xds_verdicts.served_version),
    served = coalesce(excluded.served, xds_verdicts.served)
"""
_PRUNE: Final = """
DELETE FROM xds_verdicts WHERE (flavour, type, name) IN (
    SELECT flavour, type, name FROM xds_verdicts ORDER BY create_time DESC OFFSET $1)
"""
_PRUNE_DOUBTS: Final = """
DELETE FROM xds_doubts WHERE node_id IN (
    SELECT node_id FROM xds_doubts ORDER BY update_time DESC OFFSET $1)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """Everything there is, at one version."""

    version: int
    verdicts: Sequence[tuple[str, Key, Verdict]]
    """Flavour, type and name, and the verdict."""

    doubts: Mapping[str, Names]
    """By node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What is to be written together."""

    verdicts: Sequence[tuple[str, Key, Verdict]] = ()
    over: Sequence[tuple[str, Key, Verdict]] = ()
    """Verdicts about contents that are no longer wanted."""

    doubts: Sequence[tuple[str, Names]] = ()
    """A node without names is forgotten."""

    now: datetime


class DiscoveryStore:
    """Reads and writes it."""

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool

    async def write(self, changes: Changes) -> int:
        """
        Write *changes*; returns the version they make.

        Raises:
            Unavailable: The database is away.

        """
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.executemany(_UPSERT, [_row(*one) for one in changes.verdicts])
                await connection.executemany(
                    "DELETE FROM xds_verdicts"
                    " WHERE flavour = $1 AND type = $2 AND name = $3 AND version = $4",
                    [(f, *key, one.refusal.resource.version) for f, key, one in changes.over],
                )
                await connection.executemany(
                    "DELETE FROM xds_doubts WHERE node_id = $1",
                    [(node,) for node, names in changes.doubts if not names],
                )
                await connection.executemany(
                    "INSERT INTO xds_doubts (node_id, names, update_time) VALUES ($1, $2, $3)"
                    " ON CONFLICT (node_id) DO UPDATE SET names = excluded.names,"
                    " update_time = excluded.update_time",
                    [
                        (node, _listed(names), changes.now)
                        for node, names in changes.doubts
                        if names
                    ],
                )
                await connection.execute(_PRUNE, VERDICTS_MAX)
                await connection.execute(_PRUNE_DOUBTS, DOUBTS_MAX)
                version: int = await connection.fetchval(
                    "UPDATE xds_state SET version = version + 1 RETURNING version"
                )
                return version

    async def read(self, unless: int | None = None) -> Remembered | None:
        """
        Return everything; None: it is still at the version *unless*.

        Raises:
            Unavailable: The database is away.

        """
        with unavailable_on_lost_connection():
            async with (
                self._pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                version: int = await connection.fetchval("SELECT version FROM xds_state")
                if version == unless:
                    return None
                rows = await connection.fetch("SELECT * FROM xds_verdicts ORDER BY create_time")
                nodes = await connection.fetch("SELECT node_id, names FROM xds_doubts")
        return Remembered(
            version=version,
            verdicts=[_verdict(row) for row in rows if row["type"] in BY_KEY],
            doubts={
                row["node_id"]: {key: frozenset(names) for key, names in row["names"].items()}
                for row in nodes
            },
        )


def _row(flavour: str, key: Key, verdict: Verdict) -> tuple[object, ...]:
    item, served = verdict.refusal.resource, verdict.served
    return (
        flavour,
        *key,
        item.version,
        verdict.refusal.error,
        verdict.node_id,
        verdict.lifted,
        verdict.time,
        served.version if served else None,
        served.value if served else None,
    )


def _verdict(row: Mapping[str, Any]) -> tuple[str, Key, Verdict]:
    kind, name = BY_KEY[row["type"]], row["name"]
    served = None
    if row["served_version"] is not None:
        served = Resource(name, row["served_version"], row["served"])
    refusal = Refusal(kind=kind, resource=Resource(name, row["version"]), error=row["error"])
    verdict = Verdict(
        refusal=refusal,
        node_id=row["node_id"],
        time=row["create_time"],
        served=served,
        lifted=row["lifted"],
    )
    return row["flavour"], (kind.key, name), verdict


def _listed(names: Names) -> dict[str, list[str]]:
    return {key: sorted(found) for key, found in names.items()}
