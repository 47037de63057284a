"""The pool and the migrations, on a real PostgreSQL."""

import asyncio
import sys

import pytest

from meshkit.errors import Unavailable
from meshkit.postgres import migrate, open_pool, unavailable_on_lost_connection


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "some_migrations"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "0001_create.sql").write_text("CREATE TABLE t (n int PRIMARY KEY)")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    sys.modules.pop("some_migrations", None)


async def test_migrations_are_applied_once_by_however_many(postgres, package):
    dsn = await postgres.database("migrate")
    async with open_pool(dsn, application_name="test") as pool:
        results = await asyncio.gather(*(migrate(pool, "some_migrations") for _ in range(4)))
        (package / "0002_more.sql").write_text("INSERT INTO t VALUES (1)")
        again = await migrate(pool, "some_migrations")
        count = await pool.fetchval("SELECT count(*) FROM t")

    assert sorted(len(r) for r in results) == [0, 0, 0, 1]
    assert (again, count) == (["0002_more.sql"], 1)


async def test_a_migration_that_fails_leaves_nothing_behind(postgres, package):
    dsn = await postgres.database("migrate")
    (package / "0002_broken.sql").write_text("INSERT INTO t VALUES (1); SELECT 1/0")
    async with open_pool(dsn, application_name="test") as pool:
        with pytest.raises(Exception, match="division by zero"):
            await migrate(pool, "some_migrations")
        (package / "0002_broken.sql").write_text("INSERT INTO t VALUES (1)")
        applied = await migrate(pool, "some_migrations")

    assert applied == ["0002_broken.sql"]


async def test_a_migration_changed_after_the_fact_is_refused(postgres, package):
    dsn = await postgres.database("migrate")
    async with open_pool(dsn, application_name="test") as pool:
        await migrate(pool, "some_migrations")
        (package / "0001_create.sql").write_text("CREATE TABLE t (n bigint PRIMARY KEY)")
        with pytest.raises(ValueError, match="was changed"):
            await migrate(pool, "some_migrations")


async def test_a_server_killed_and_back_is_unavailable_then_there(own_postgres):
    dsn = await own_postgres.database("kill")
    async with open_pool(dsn, application_name="test") as pool:
        own_postgres.kill()
        with pytest.raises(Unavailable), unavailable_on_lost_connection():
            await pool.fetchval("SELECT 1")
        own_postgres.start()

        assert await pool.fetchval("SELECT 1") == 1


async def test_a_start_waits_for_the_server(own_postgres):
    dsn = await own_postgres.database("wait")
    own_postgres.kill()

    async def read():
        async with open_pool(dsn, application_name="test") as pool:
            return await pool.fetchval("SELECT 1")

    reading = asyncio.create_task(read())
    own_postgres.start()

    assert await reading == 1
