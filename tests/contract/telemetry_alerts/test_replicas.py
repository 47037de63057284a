"""Two replicas over one database: one tells, and when it is gone the other does."""

import asyncio
import contextlib
from dataclasses import replace
from datetime import timedelta

import grpc
import pytest
from aiohttp import web

from aerofusion.telemetry.v1 import (
    alert_service_pb2,
    incident_service_pb2,
    routing_pb2,
    routing_service_pb2,
)
from meshkit.serving import GrpcServer
from telemetry.alerts.opening import open_room
from telemetry.alerts.services.register import serve_alerts
from telemetry.app import open_pipeline, open_store
from telemetry.intake.service import serve_otlp
from telemetry.policy import POLICY
from telemetry.query.queries import Queries
from telemetry.scan.scanner import Scanner
from telemetry.settings import Settings
from telemetry.store.reader import Reader
from tests.contract.telemetry_alerts.reaching import Service, eventually, is_firing, ready, refused


pytestmark = pytest.mark.timeout(600)  # The first start on a machine compiles.

ON_CALL = "tenants/aero/recipients/ops"


@pytest.fixture
async def replica(ca, tmp_path, dsn):
    """`async with replica("0") as service`; all are over one store."""
    async with contextlib.AsyncExitStack() as stack:
        common = Settings(
            state_dir=tmp_path, postgres_dsn=dsn, rules_interval=timedelta(seconds=0.1)
        )
        sessions = await stack.enter_async_context(open_store(common))
        pipeline = await stack.enter_async_context(open_pipeline(common, sessions, Scanner()))
        queries = Queries(Reader(sessions), head=pipeline.head)
        stack.callback(queries.close)

        @contextlib.asynccontextmanager
        async def run(name):
            workload = ca.workload("telemetry", name)
            settings = replace(common, replica=name)
            server = GrpcServer(workload=workload, listen="127.0.0.1:0", policy=POLICY)
            async with open_room(settings, workload, pipeline.intake, queries) as room:
                serve_alerts(server, room, queries, step_ms=100)
                serve_otlp(server, pipeline.intake)
                port = await server.start()
                operator = ca.workload("operator")
                async with operator.channel(f"127.0.0.1:{port}", service="telemetry") as channel:
                    service = Service(channel)
                    await ready(service)
                    yield service
                await server.drain(timedelta(seconds=1))

        yield run


@pytest.fixture
async def told():
    """What a webhook is told, and its address."""
    queue = asyncio.Queue()

    async def post(request):
        await queue.put(await request.json())
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/", post)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    queue.address = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/"
    yield queue
    await runner.cleanup()


async def take(service, name):
    return await service.alerts.AcknowledgeAlerts(
        alert_service_pb2.AcknowledgeAlertsRequest(names=[name], comment="mine")
    )


async def test_one_tells_and_the_other_goes_on_where_it_ended(replica, told):
    async with contextlib.AsyncExitStack() as first_alone:
        first = await first_alone.enter_async_context(replica("0"))
        async with replica("1") as second:
            policy = routing_pb2.EscalationPolicy(
                id="default",
                steps=[routing_pb2.EscalationStep(targets=[ON_CALL])],
                fallback_webhooks=[told.address],
            )
            routing = routing_pb2.Routing(policies=[policy])
            await first.routing.UpdateRouting(
                routing_service_pb2.UpdateRoutingRequest(routing=routing)
            )
            await first.apply()
            await first.send("queue.length", 50.0)
            alert = await first.until(is_firing)
            # The other knows of the rules, and finds the same.
            assert (await second.until(is_firing)).name == alert.name
            async with asyncio.timeout(30):
                assert (await told.get())["why"] == "firing"

            standby = await refused(take(second, alert.name))
            assert standby.reason == "ALERTS_STANDBY"
            await take(first, alert.name)

            async def known():
                return (await second.listed())[0].HasField("acknowledgement")

            await eventually(known)
            await first_alone.aclose()

            async def taken():
                with contextlib.suppress(grpc.aio.AioRpcError):
                    return (await take(second, alert.name)).alerts
                return None

            (again,) = await eventually(taken)
            assert again.acknowledgement.comment == "mine"
            assert told.empty()
            await second.send("queue.length", 1.0)
            async with asyncio.timeout(30):
                assert (await told.get())["why"] == "resolved"
            incidents = await second.incidents.ListIncidents(
                incident_service_pb2.ListIncidentsRequest(show_resolved=True)
            )
            assert [one.firings for one in incidents.incidents] == [1]
