"""The whole service, run within a test."""

import contextlib
from datetime import timedelta

import pytest

from telemetry.app import serve
from telemetry.head.warming import warm as warm_head
from telemetry.promql.warm import warm as warm_promql
from telemetry.scan.scanner import Scanner
from telemetry.settings import Settings
from tests.contract.telemetry_alerts.reaching import Service


@pytest.fixture(scope="session", autouse=True)
def compiled():
    """What is compiled at the first start on a machine, so that no test waits for it."""
    Scanner().warm()
    warm_head()
    warm_promql()


@pytest.fixture
def running(ca, run_serve, tmp_path):
    """`async with running(dsn) as service`."""

    @contextlib.asynccontextmanager
    async def run(dsn, caller="operator", **more):
        settings = Settings(
            state_dir=tmp_path / "state",
            postgres_dsn=dsn,
            rules_interval=timedelta(seconds=0.1),
            **more,
        )
        async with (
            run_serve(serve, settings, workload=ca.workload("telemetry")) as port,
            ca.workload(caller).channel(f"127.0.0.1:{port}", service="telemetry") as channel,
        ):
            yield Service(channel)

    return run


@pytest.fixture
async def dsn(postgres):
    return await postgres.database("telemetry")
