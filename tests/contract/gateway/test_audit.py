"""Each change leaves a record that nobody can alter unnoticed."""

import asyncpg
import grpc
import pytest

from aerofusion.gateway.v1 import catalog_service_pb2 as rpc
from aerofusion.gateway.v1 import catalog_service_pb2_grpc as stubs
from aerofusion.gateway.v1 import service_pb2
from gateway.store import audit
from meshkit.postgres import migrate, open_pool
from tests.contract.gateway.test_catalog_service import refused


@pytest.fixture
async def pool(postgres):
    dsn = await postgres.database("gateway")
    async with open_pool(dsn, application_name="test") as pool:
        await migrate(pool, "gateway.store.migrations")
        yield pool


async def record(pool, number, *, fail=False):
    async with pool.acquire() as connection, connection.transaction():
        await audit.record(
            connection,
            actor="spiffe://aerofusion/operator/local",
            action="catalog.update",
            resource=f"services/s{number}",
            detail={"before": None, "after": "x", "revision": number},
        )
        if fail:
            raise ValueError


async def first_broken(pool):
    async with pool.acquire() as connection:
        return await audit.first_broken(connection)


async def test_a_chain_of_records_is_whole(pool):
    for number in range(5):
        await record(pool, number)
    assert await pool.fetchval("SELECT max(seq) FROM audit_log") == 5
    assert await first_broken(pool) is None


async def test_a_record_falls_with_its_transaction(pool):
    await record(pool, 1)
    with pytest.raises(ValueError):  # noqa: PT011
        await record(pool, 2, fail=True)
    await record(pool, 3)
    assert await pool.fetchval("SELECT array_agg(seq ORDER BY seq) FROM audit_log") == [1, 2]
    assert await first_broken(pool) is None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET actor = 'nobody'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "UPDATE revisions SET actor = 'nobody'",
        "DELETE FROM revisions",
    ],
)
async def test_the_database_refuses_to_alter_what_happened(pool, statement):
    await record(pool, 1)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await pool.execute(statement)


@pytest.mark.parametrize(
    ("tampering", "broken"),
    [
        ("UPDATE audit_log SET actor = 'nobody' WHERE seq = 2", 2),
        ("UPDATE audit_log SET detail = '{}' WHERE seq = 4", 4),
        ("DELETE FROM audit_log WHERE seq = 3", 3),
        ("UPDATE audit_log SET create_time = create_time + interval '1 us' WHERE seq = 1", 1),
    ],
)
async def test_what_is_altered_behind_its_back_is_found(pool, tampering, broken):
    for number in range(5):
        await record(pool, number)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("ALTER TABLE audit_log DISABLE TRIGGER audit_log_append_only")
        await connection.execute(tampering)
    assert await first_broken(pool) == broken


async def test_each_admin_change_is_recorded_and_a_refused_one_is_not(gateway):
    async with (
        gateway() as (settings, _),
        grpc.aio.insecure_channel(f"unix:{settings.unix_socket}") as channel,
        open_pool(settings.postgres_dsn, application_name="test") as pool,
    ):
        catalog = stubs.CatalogServiceStub(channel)
        create = rpc.CreateServiceRequest(service_id="a", service=service_pb2.Service())
        await catalog.CreateService(create)
        await refused(catalog.CreateService(create))
        await catalog.DeleteService(rpc.DeleteServiceRequest(name="services/a"))
        rows = await pool.fetch(
            "SELECT * FROM audit_log WHERE action LIKE 'catalog.%' ORDER BY seq"
        )
        assert [(row["action"], row["resource"]) for row in rows] == [
            ("catalog.create", "services/a"),
            ("catalog.delete", "services/a"),
        ]
        assert {row["actor"] for row in rows} == {"spiffe://aerofusion/operator/local"}
        assert rows[0]["detail"]["before"] is None
        assert rows[0]["detail"]["after"] == rows[1]["detail"]["before"]
        assert await first_broken(pool) is None
