"""What merging changed, into the tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from syncd.merge import Slice, Written

Connection = Any


async def save(connection: Connection, space_key: int, part: Slice, written: Written) -> None:
    """Write what merging changed, a statement per table whatever the number of mutations."""
    if written.records or written.cells:
        await _save_records(connection, space_key, part, written)
        await _save_cells(connection, space_key, part, written)
    if written.losers:
        await connection.execute(
            "INSERT INTO journal (space_key, record_id, field, value, device, number, hlc, reason,"
            " winner_seq) SELECT $1, * FROM unnest($2::text[], $3::smallint[], $4::bytea[],"
            " $5::text[], $6::bigint[], $7::bigint[], $8::smallint[], $9::bigint[])",
            space_key,
            *_columns(
                [
                    (x.record, x.field, x.value, x.device, x.number, x.hlc, x.reason, x.winner_seq)
                    for x in written.losers
                ],
                8,
            ),
        )
    if written.results:
        await connection.execute(
            "INSERT INTO mutations (space_key, device, number, digest, status, seq, reason,"
            " message, touched) SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::bytea[],"
            " $5::smallint[], $6::bigint[], $7::text[], $8::text[], $9::jsonb[])",
            space_key,
            *_columns(
                [
                    (device, number, x.digest, r.status, r.seq, r.reason, r.message, x.touched)
                    for (device, number), x in written.results.items()
                    for r in (x.result,)
                ],
                8,
            ),
        )
    if written.confirmed:
        await _save_confirmed(connection, space_key, written.confirmed)


async def _save_records(
    connection: Connection, space_key: int, part: Slice, written: Written
) -> None:
    # A record whose last cell came or went has changed too.
    changed = written.records | {record for record, _ in written.cells}
    values = []
    for record_id in sorted(changed):
        x = part.records[record_id]
        gone = x.removal
        removal = (gone.seq, gone.hlc, gone.device, gone.number) if gone else (None,) * 4
        values.append((x.number, record_id, x.created_seq, bool(x.cells), *removal))
    await connection.execute(
        "INSERT INTO records (space_key, number, record_id, created_seq, live, removed_seq,"
        " removed_hlc, removed_by, removed_number) SELECT $1, * FROM unnest($2::bigint[],"
        " $3::text[], $4::bigint[], $5::boolean[], $6::bigint[], $7::bigint[], $8::text[],"
        " $9::bigint[]) ON CONFLICT (space_key, number) DO UPDATE SET"
        " created_seq = excluded.created_seq, live = excluded.live,"
        " removed_seq = excluded.removed_seq, removed_hlc = excluded.removed_hlc,"
        " removed_by = excluded.removed_by, removed_number = excluded.removed_number"
        " WHERE (records.created_seq, records.live, records.removed_seq)"
        " IS DISTINCT FROM (excluded.created_seq, excluded.live, excluded.removed_seq)",
        space_key,
        *_columns(values, 8),
    )


async def _save_cells(
    connection: Connection, space_key: int, part: Slice, written: Written
) -> None:
    kept, gone = [], []
    for record_id, field in sorted(written.cells):
        record = part.records[record_id]
        cell = record.cells.get(field)
        if cell is None:
            gone.append((record.number, field))
        else:
            w = cell.write
            row = (record.number, field, cell.value, w.seq, w.hlc, w.device, w.number)
            kept.append(row)
    if gone:
        await connection.execute(
            "DELETE FROM cells USING unnest($2::bigint[], $3::smallint[]) AS gone(record, field)"
            " WHERE cells.space_key = $1 AND cells.record = gone.record"
            " AND cells.field = gone.field",
            space_key,
            *_columns(gone, 2),
        )
    if kept:
        await connection.execute(
            "INSERT INTO cells (space_key, record, field, value, seq, hlc, device, number)"
            " SELECT $1, * FROM unnest($2::bigint[], $3::smallint[], $4::bytea[], $5::bigint[],"
            " $6::bigint[], $7::text[], $8::bigint[]) ON CONFLICT (space_key, record, field)"
            " DO UPDATE SET value = excluded.value, seq = excluded.seq, hlc = excluded.hlc,"
            " device = excluded.device, number = excluded.number",
            space_key,
            *_columns(kept, 7),
        )


async def _save_confirmed(
    connection: Connection, space_key: int, confirmed: dict[str, int]
) -> None:
    columns = _columns(sorted(confirmed.items()), 2)
    await connection.execute(
        "INSERT INTO confirmations (space_key, device, through)"
        " SELECT $1, * FROM unnest($2::text[], $3::bigint[])"
        " ON CONFLICT (space_key, device) DO UPDATE SET through = excluded.through",
        space_key,
        *columns,
    )
    await connection.execute(
        "DELETE FROM mutations USING unnest($2::text[], $3::bigint[]) AS done(device, through)"
        " WHERE mutations.space_key = $1 AND mutations.device = done.device"
        " AND mutations.number <= done.through",
        space_key,
        *columns,
    )


def _columns(table: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """Return the columns of *table*, whose rows have *width* entries."""
    return [[row[index] for row in table] for index in range(width)]
