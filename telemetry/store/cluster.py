"""
ClickHouse servers over HTTP: one, or a cluster with replicas and shards.

On a cluster each table of ours is two: `<table>_local` on every server, replicated within its
shard, and `<table>`, which reads and writes those of all shards. An INSERT returns when a quorum
of the shard's replicas has its rows.
"""

# ruff: noqa: S608 - names of our tables, and quoted text

from __future__ import annotations

import contextlib
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from meshkit.errors import FailedPrecondition
from telemetry.store.engine import NETWORK_ERROR, Load, StoreFailed, code_in, quote, schema


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from telemetry.store.engine import Connection

CONNECT_S, ANSWER_S = 5, 120
"""How long to wait for a server, and for the answer to one statement."""

SHARD_KEYS = {
    "series": "series_id",
    "samples": "series_id",
    "histograms": "series_id",
    "exemplars": "series_id",
    "roll_5m": "series_id",
    "roll_1h": "series_id",
    "logs": "rand()",
    "spans": "cityHash64(trace_id)",
    "trace_weights": "cityHash64(trace_id)",
    "edges_1m": "cityHash64(client, server)",
    "rolled": "1",
    "writers": "1",
}
"""What says which shard a row is of: rows that are merged or joined stay together."""

_SETTINGS = {
    "async_insert": 0,
    # A segment is loaded anew only after its rows were counted and deleted; an equal block that
    # is quietly left out as known would be lost.
    "insert_deduplicate": 0,
    "insert_quorum": "auto",
    "distributed_foreground_insert": 1,
    "distributed_product_mode": "global",
    "distributed_ddl_output_mode": "null_status_on_timeout_only_active",
    "allow_nondeterministic_mutations": 1,
}
_WRITERS = """CREATE TABLE IF NOT EXISTS writers
(
    folder String COMMENT 'whose log numbers the segments of this database',
    since  DateTime64(9, 'UTC') DEFAULT now64(9)
)
ENGINE = MergeTree
ORDER BY since"""
_CREATE = re.compile(
    r"CREATE TABLE IF NOT EXISTS (\w+)\n(\(.*\))\nENGINE = (\w*MergeTree.*)", re.DOTALL
)
_ALTER = re.compile(r"ALTER TABLE (\w+)\s+(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where ClickHouse is."""

    url: str
    """`https://user@host:8443/database`."""

    password: str = ""
    ca: Path | None = None
    """Certificate of who signed the server's; None: the system's."""

    cluster: str = ""
    """Its name in `remote_servers`; empty: a single server."""


class Cluster:
    """
    ClickHouse servers that keep the tables.

    Args:
        owner: Name of the state folder, whose log numbers the segments: rows of two logs in one
            database would be taken for one another.

    """

    arrow_packing = "lz4_frame"

    def __init__(self, address: Address, owner: str) -> None:
        self._address = address
        self._owner = owner
        named = address.cluster
        self.parts = (
            f"clusterAllReplicas({quote(named)}, system.parts)" if named else "system.parts"
        )

    def connect(self) -> Client:
        """Open a connection."""
        import clickhouse_connect  # noqa: PLC0415 - only who has servers pays

        url = urlsplit(self._address.url)
        with _failures():
            return Client(
                clickhouse_connect.get_client(
                    interface=url.scheme,
                    host=url.hostname,
                    port=url.port or (8443 if url.scheme == "https" else 8123),
                    username=unquote(url.username or "default"),
                    password=self._address.password,
                    database=url.path.strip("/") or "default",
                    ca_cert=str(self._address.ca) if self._address.ca else None,
                    connect_timeout=CONNECT_S,
                    send_receive_timeout=ANSWER_S,
                    autogenerate_session_id=False,
                    compress=False,
                    settings=_SETTINGS,
                ),
                on_cluster=self._on_cluster,
            )

    def prepare(self, first: Connection) -> None:
        """Make the tables, and see that no other log is written to them."""
        for statement in [*schema(), _WRITERS]:
            for one in spread(statement, self._address.cluster):
                first.run(one, "TabSeparated")
        known = "SELECT folder FROM writers ORDER BY since LIMIT 1"
        if not first.run(known, "TabSeparated"):
            first.insert(f"INSERT INTO writers (folder) VALUES ({quote(self._owner)})")
        folder = first.run(known, "TabSeparated").decode().strip()
        if folder != self._owner:
            raise FailedPrecondition(
                "STORE_TAKEN",
                f"The database belongs to another state folder ({folder}). Use another database,"
                f" or, if that folder is gone for good, empty the table `writers`.",
                folder=folder,
            )

    def local(self, table: str) -> str:
        """Return the name of the table on each server that holds the rows of *table*."""
        return f"{table}_local" if self._address.cluster else table

    def everywhere(self, table: str) -> str:
        """Return what DELETE and ALTER must name to change the rows of *table*."""
        return f"{self.local(table)}{self._on_cluster}"

    @property
    def _on_cluster(self) -> str:
        return f" ON CLUSTER {quote(self._address.cluster)}" if self._address.cluster else ""


class Client:
    """A connection to a server."""

    def __init__(self, client: Any, *, on_cluster: str) -> None:
        self._client = client
        self._on_cluster = on_cluster
        self._lost: list[str] = []

    def run(self, sql: str, output: str) -> bytes:
        """Run any statement; an answer that was lost may have been to one that was done."""
        self._end_lost()
        with _failures():
            # Without a format, which some statements can't have, the answer is TabSeparated.
            answer: bytes = self._client.raw_query(
                sql, fmt=None if output == "TabSeparated" else output
            )
            return answer

    def read(self, sql: str) -> pa.Buffer:
        """Run a SELECT; return its answer in the format ArrowStream."""
        return pa.py_buffer(self.run(sql, "ArrowStream"))

    def insert(self, sql: str) -> int:
        """Run an INSERT; return how many rows it wrote."""
        return self._write(sql, None, {})

    def load(self, load: Load) -> int:
        """Insert the rows of a file, which is sent."""
        settings: dict[str, int | str] = dict(load.settings)
        if load.schema is not None:
            settings |= {
                "format_schema_source": "string",
                "format_schema": load.schema.read_text(),
                "format_schema_message_name": "Export",
            }
        select = load.select(f"input({quote(load.structure)})")
        sql = f"INSERT INTO {load.into} {select} FORMAT {load.format}"
        return self._write(sql, load.path.read_bytes(), settings)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _write(self, sql: str, data: bytes | None, settings: Mapping[str, int | str]) -> int:
        self._end_lost()
        query_id = str(uuid.uuid4())
        own = {"query_id": query_id, "wait_end_of_query": 1}
        try:
            with _failures():
                summary = self._client.command(sql, data=data, settings={**settings, **own})
                return int(summary.written_rows)
        except StoreFailed as error:
            if error.code == NETWORK_ERROR:
                self._lost.append(query_id)
            raise

    def _end_lost(self) -> None:
        """
        End writes whose answers were lost, so that none goes on beside its repetition.

        Whoever repeats one deletes first what it had written.
        """
        while self._lost:
            with _failures():
                self._client.raw_query(
                    f"KILL QUERY{self._on_cluster} WHERE initial_query_id = {quote(self._lost[0])}"
                    " SYNC"
                )
            del self._lost[0]


def spread(statement: str, cluster: str) -> list[str]:
    """Return what makes, on each server of *cluster*, what *statement* makes on a single one."""
    if not cluster:
        return [statement]
    on = f"ON CLUSTER {quote(cluster)}"
    made = _CREATE.fullmatch(statement)
    if made is not None:
        table, columns, engine = made.groups()
        local = f"{table}_local"
        return [
            f"CREATE TABLE IF NOT EXISTS {local} {on}\n{columns}\nENGINE = Replicated{engine}",
            f"CREATE TABLE IF NOT EXISTS {table} {on} AS {local} ENGINE ="
            f" Distributed({quote(cluster)}, currentDatabase(), {local}, {SHARD_KEYS[table]})",
        ]
    changed = _ALTER.fullmatch(statement)
    if changed is None:
        raise ValueError(statement)
    table, change = changed.groups()
    return [f"ALTER TABLE {one} {on} {change}" for one in (f"{table}_local", table)]


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Raise `StoreFailed` for what the driver raises."""
    from clickhouse_connect.driver.exceptions import Error  # noqa: PLC0415 - as above

    try:
        yield
    except Error as error:
        code = code_in(str(error))
        raise StoreFailed(NETWORK_ERROR if code is None else code, str(error)) from None
