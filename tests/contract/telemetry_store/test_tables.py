"""What a start does to the tables in the folder: as little as it can."""

# ruff: noqa: S608 - expressions of ours

import json

import pytest

from telemetry.store.embedded import Session
from telemetry.store.engine import schema
from telemetry.store.sessions import Sessions


@pytest.fixture
def said(monkeypatch):
    """The statements that change tables, as they are run."""
    statements, run = [], Session.run

    def noted(self, sql, output):
        statements.append(sql)
        return run(self, sql, output)

    monkeypatch.setattr(Session, "run", noted)
    return statements


async def test_tables_are_made_once_and_new_ones_need_no_change(tmp_path, said):
    async with Sessions.open(tmp_path / "store"):
        pass
    made = [one for one in said if one.startswith(("CREATE", "ALTER"))]
    settings = made.pop()
    assert settings.startswith("ALTER TABLE logs MODIFY SETTING")
    assert made == [one for one in schema() if one.startswith("CREATE")]

    said.clear()
    async with Sessions.open(tmp_path / "store") as sessions:
        assert said == []
        assert await sessions.query("SELECT count() FROM samples", "TSV") == b"0\n"


async def test_tables_of_an_earlier_version_are_changed(tmp_path, said):
    async with Sessions.open(tmp_path / "store") as sessions:
        await sessions.execute("ALTER TABLE series DROP COLUMN delta")
    (tmp_path / "store" / "tables.made").write_text("of an earlier version")

    async with Sessions.open(tmp_path / "store") as sessions:
        assert await sessions.query("SELECT count(delta) FROM series", "TSV") == b"0\n"


async def test_attributes_of_records_are_packed_by_their_names_and_stay_what_they_were(tmp_path):
    """What differs in each record stands beside what doesn't: in merged parts that is apart."""
    rows = 200_000
    keys = "arrayMap(n -> 'key.' || n, range(20))"
    values = (
        "arrayMap(n -> multiIf(n = 7, toString(number), n < 2, hex(MD5(toString(20 * number + n))),"
        " n < 7, toString(cityHash64(number, n) % 1000), 'the same in all ' || n), range(20))"
    )
    sizes = []
    async with Sessions.open(tmp_path / "store") as sessions:
        for begin in (0, rows // 2):
            await sessions.execute(
                "INSERT INTO logs (time, service, body, attributes)"
                f" SELECT now64(9), 's', 'b', mapFromArrays({keys}, {values})"
                f" FROM numbers({begin}, {rows // 2})"
            )
        read = (
            "SELECT attributes, attributes['key.7'] FROM logs WHERE attributes['key.7'] = '150000'"
        )
        before = json.loads(await sessions.query(read, "JSONCompactEachRow"))
        for statement in ("SELECT 1", "OPTIMIZE TABLE logs FINAL"):
            await sessions.execute(statement)
            size = await sessions.query(
                "SELECT sum(column_data_compressed_bytes) FROM system.parts_columns"
                " WHERE table = 'logs' AND column = 'attributes' AND active",
                "TSV",
            )
            sizes.append(int(size))
        after = json.loads(await sessions.query(read, "JSONCompactEachRow"))
    assert after == before
    assert after[0]["key.7"] == after[1] == "150000"
    assert len(after[0]) == 20
    assert sizes[1] < sizes[0]
