"""A whole telemetry with its database, and how to reach it."""

import asyncio
import contextlib
import time

import pytest

from aerofusion.telemetry.v1.dashboard_service_pb2_grpc import DashboardServiceStub
from aerofusion.telemetry.v1.query_service_pb2 import QueryInstantRequest
from aerofusion.telemetry.v1.query_service_pb2_grpc import QueryServiceStub
from telemetry.app import serve
from telemetry.intake.service import METHODS
from telemetry.scan.shapes import Signal
from telemetry.settings import Settings
from tests.contract.telemetry_intake import otlp_requests


class Service:
    """A telemetry that runs."""

    def __init__(self, channel):
        self.dashboards = DashboardServiceStub(channel)
        self._queries = QueryServiceStub(channel)
        self._export = channel.unary_unary(METHODS[Signal.METRICS])

    async def send(self, name, *values, at_ns=None):
        """Acknowledge gauges, series by series."""
        await self._export(otlp_requests.gauges(name, values, at_ns or time.time_ns()))

    async def send_past(self, name, points):
        """Acknowledge a gauge's values, each with its time, at once."""
        # Messages behind one another are one message with all of their fields.
        parts = [otlp_requests.gauges(name, [value], at_ns) for at_ns, value in points]
        await self._export(b"".join(parts))

    async def found(self, name):
        """Wait until *name* is found: a start takes a second until memory answers."""
        request = QueryInstantRequest(query=name)
        while True:
            if (await self._queries.QueryInstant(request)).series:
                return
            await asyncio.sleep(0.05)  # polls


@pytest.fixture
def running(ca, run_serve, tmp_path):
    """`async with running(dsn) as service`."""

    @contextlib.asynccontextmanager
    async def run(dsn="", caller="operator"):
        settings = Settings(
            state_dir=tmp_path / "state",
            postgres_dsn=dsn,
            unix_socket=tmp_path / "telemetry.sock",
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
