"""A whole telemetry with its database, and how to reach it."""

import asyncio
import contextlib
import time

import pytest_asyncio

from aerofusion.telemetry.v1.dashboard_service_pb2_grpc import DashboardServiceStub
from aerofusion.telemetry.v1.query_service_pb2 import QueryInstantRequest
from aerofusion.telemetry.v1.query_service_pb2_grpc import QueryServiceStub
from telemetry.app import serve
from telemetry.intake.service import METHODS
from telemetry.scan.shapes import Signal
from telemetry.settings import Settings
from tests.contract.telemetry_intake import otlp_requests
from tests.fixtures import serving


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
        await self._export(otlp_requests.gauge_over_time(name, points))

    async def found(self, name):
        """Wait until *name* is found: a start takes a second until memory answers."""
        request = QueryInstantRequest(query=name)
        while True:
            if (await self._queries.QueryInstant(request)).series:
                return
            await asyncio.sleep(0.05)  # polls


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started(ca, tmp_path_factory):
    """
    `await started(dsn)`: a telemetry for the tests of a module, and the path of its socket.

    A process can have only one store open at a time.
    """
    async with contextlib.AsyncExitStack() as stack:

        async def start(dsn=""):
            state = tmp_path_factory.mktemp("telemetry")
            settings = Settings(
                state_dir=state / "state", postgres_dsn=dsn, unix_socket=state / "grpc.sock"
            )
            running = serving.running(serve, settings, workload=ca.workload("telemetry"))
            port = await stack.enter_async_context(running)
            channel = ca.workload("operator").channel(f"127.0.0.1:{port}", service="telemetry")
            return Service(await stack.enter_async_context(channel)), settings.unix_socket

        yield start
