"""What has been gone for long is forgotten; a gateway that can't would end."""

import pytest

from gateway.store.registrations import RegistrationStore
from meshkit.postgres import migrate, open_pool


@pytest.fixture
async def pool(postgres):
    async with open_pool(await postgres.database("gateway"), application_name="test") as made:
        await migrate(made, "gateway.store.migrations")
        yield made


async def test_the_registry_can_be_purged(pool):
    await RegistrationStore(pool).purge()
    assert await pool.fetchval("SELECT count(*) FROM registrations") == 0
