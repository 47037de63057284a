"""What a start does to the tables in the folder: as little as it can."""

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
