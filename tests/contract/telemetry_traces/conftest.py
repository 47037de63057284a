"""The whole service, per module: a process can have only one store open at a time."""

from datetime import timedelta

import pytest_asyncio

from telemetry.app import serve
from telemetry.load import span_rows
from telemetry.settings import Settings
from tests.fixtures.serving import running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port(ca, tmp_path_factory):
    span_rows.warm()  # Else ClickHouse reads from the log itself what comes in the first second.
    settings = Settings(
        state_dir=tmp_path_factory.mktemp("telemetry"), segment_age=timedelta(milliseconds=50)
    )
    async with running(serve, settings, workload=ca.workload("telemetry")) as port:
        yield port


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def channel(ca, port):
    """A channel of the operator's."""
    async with ca.workload("operator").channel(f"127.0.0.1:{port}", service="telemetry") as channel:
        yield channel
