"""Alerts reach people: through the real notifier, and straight where it doesn't take them."""

import asyncio
import contextlib
from email import message_from_bytes

import pytest
from aiohttp import web
from aiosmtpd.smtp import SMTP
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from aerofusion.notify.v1 import (
    inbox_service_pb2,
    inbox_service_pb2_grpc,
    recipient_service_pb2,
    recipient_service_pb2_grpc,
)
from aerofusion.telemetry.v1 import (
    alert_service_pb2,
    routing_pb2,
    routing_service_pb2,
)
from meshkit.errors import Conflict, InvalidInput, NotFound
from notifier.app import serve as serve_notifier
from notifier.settings import Settings as NotifierSettings
from tests.contract.telemetry_alerts.reaching import is_firing, ready, refused


pytestmark = pytest.mark.timeout(600)  # The first start on a machine compiles.


ON_CALL = "tenants/aero/recipients/ops"
NOBODY = "127.0.0.1:1"


class Hook:
    """A webhook that keeps what it is told."""

    def __init__(self):
        self.told = asyncio.Queue()

    async def post(self, request):
        await self.told.put(await request.json())
        return web.Response(status=204)

    async def next(self, wanted):
        async with asyncio.timeout(30):
            while True:
                body = await self.told.get()
                if wanted(body):
                    return body


@pytest.fixture
async def hook():
    made = Hook()
    app = web.Application()
    app.router.add_post("/alerts", made.post)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.address = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/alerts"
    yield made
    await runner.cleanup()


class Mails:
    """A real SMTP server that keeps what it takes."""

    def __init__(self):
        self.taken = asyncio.Queue()

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - aiosmtpd's name
        await self.taken.put(envelope)
        return "250 OK"


@pytest.fixture
async def mails():
    handler = Mails()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(handler, loop=loop), "127.0.0.1", 0)
    handler.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield handler
    server.close()


def policy(**fields):
    steps = fields.pop("steps", None) or [routing_pb2.EscalationStep(targets=[ON_CALL])]
    return routing_pb2.EscalationPolicy(
        id="default", followers_wait=Duration(seconds=1), steps=steps, **fields
    )


async def routed(service, *policies, **more):
    routing = routing_pb2.Routing(policies=policies, **more)
    request = routing_service_pb2.UpdateRoutingRequest(routing=routing)
    return (await service.routing.UpdateRouting(request)).routing


def is_told(alert):
    return alert.receipt.HasField("deliver_time")


async def test_the_notifier_takes_an_alert_to_who_is_on_call(running, dsn, postgres, ca, run_serve):
    settings = NotifierSettings(postgres_dsn=await postgres.database("notifier"))
    async with contextlib.AsyncExitStack() as stack:
        port = await stack.enter_async_context(
            run_serve(serve_notifier, settings, workload=ca.workload("notifier"))
        )
        operator = await stack.enter_async_context(
            ca.workload("operator").channel(f"127.0.0.1:{port}", service="notifier")
        )
        recipients = recipient_service_pb2_grpc.RecipientServiceStub(operator)
        await recipients.CreateRecipient(
            recipient_service_pb2.CreateRecipientRequest(parent="tenants/aero", recipient_id="ops")
        )
        service = await stack.enter_async_context(
            running(dsn, notifier_address=f"127.0.0.1:{port}")
        )
        await ready(service)
        steps = [routing_pb2.EscalationStep(targets=["schedules/ops"])]
        schedule = routing_pb2.Schedule(id="ops", participants=[ON_CALL], start_date="2026-01-01")
        await routed(service, policy(steps=steps), schedules=[schedule])
        await service.apply()
        await service.send("queue.length", 50.0)
        told = await service.until(is_told)
        assert told.receipt.route == "notifier"
        times = [
            told.receipt.event_time,
            told.receipt.ingest_time,
            told.receipt.evaluate_time,
            told.receipt.send_time,
            told.receipt.deliver_time,
        ]
        assert [one.ToNanoseconds() for one in times] == sorted(
            one.ToNanoseconds() for one in times
        )
        inbox = inbox_service_pb2_grpc.InboxServiceStub(operator)
        async with asyncio.timeout(30):
            watch = inbox.WatchInbox(inbox_service_pb2.WatchInboxRequest(parent=ON_CALL))
            async for message in watch:
                if "QueueLong" in str(message):
                    break


async def test_without_the_notifier_mail_and_webhooks_are_told_straight(running, dsn, hook, mails):
    options = {
        "notifier_address": NOBODY,
        "alert_smtp_address": mails.address,
        "alert_smtp_security": "plain",
    }
    async with running(dsn, **options) as service:
        await ready(service)
        await routed(
            service,
            policy(fallback_mails=["ops@aero.example"], fallback_webhooks=[hook.address]),
        )
        await service.apply()
        await service.send("queue.length", 50.0)
        body = await hook.next(lambda told: told["why"] == "firing")
        assert body["subject"] == "[FIRING:1] QueueLong"
        assert body["alerts"][0]["alertname"] == "QueueLong"
        assert "meshctl alerts ack" in body["text"]
        async with asyncio.timeout(30):
            envelope = await mails.taken.get()
        assert envelope.rcpt_tos == ["ops@aero.example"]
        assert message_from_bytes(envelope.content)["Subject"] == body["subject"]
        assert (await service.until(is_told)).receipt.route == "smtp"
        await service.send("queue.length", 1.0)
        await hook.next(lambda told: told["why"] == "resolved")


async def test_what_nobody_acknowledges_is_escalated_and_what_somebody_does_is_not(
    running, dsn, hook
):
    async with running(dsn) as service:
        await ready(service)
        steps = [
            routing_pb2.EscalationStep(targets=[ON_CALL]),
            routing_pb2.EscalationStep(targets=[ON_CALL], after=Duration(nanos=300_000_000)),
        ]
        await routed(service, policy(steps=steps, fallback_webhooks=[hook.address]))
        await service.apply()
        await service.send("queue.length", 50.0)
        await hook.next(lambda told: told["why"] == "escalated")
        alert = await service.until(is_firing)
        await service.alerts.AcknowledgeAlerts(
            alert_service_pb2.AcknowledgeAlertsRequest(names=[alert.name])
        )
        await service.send("queue.length", 1.0)
        body = await hook.next(lambda told: told["why"] != "escalated")
        assert body["why"] == "resolved"


async def test_a_restart_tells_nobody_twice(running, dsn, hook):
    async with running(dsn) as service:
        await ready(service)
        await routed(service, policy(fallback_webhooks=[hook.address]))
        await service.apply()
        await service.send("queue.length", 50.0)
        first = await hook.next(lambda told: told["why"] == "firing")
        await service.until(is_told)
    async with running(dsn) as service:
        await ready(service)
        await service.until(is_firing)
        await service.send("queue.length", 1.0)
        body = await hook.next(lambda _: True)
        assert (body["why"], body["id"] != first["id"]) == ("resolved", True)


async def test_routing_is_read_changed_with_its_etag_and_checked(running, dsn):
    async with running(dsn) as service:
        await ready(service)
        empty = await service.routing.GetRouting(routing_service_pb2.GetRoutingRequest())
        assert empty.routing == routing_pb2.Routing()
        schedule = routing_pb2.Schedule(
            id="ops",
            time_zone="Europe/Berlin",
            participants=[ON_CALL, "tenants/aero/recipients/two"],
            start_date="2026-03-02",
            handover="09:00",
            turn_days=1,
        )
        stored = await routed(service, policy(), schedules=[schedule])
        stale = routing_pb2.Routing(etag="other")
        update = routing_service_pb2.UpdateRoutingRequest(routing=stale)
        assert isinstance(await refused(service.routing.UpdateRouting(update)), Conflict)
        update.routing.CopyFrom(stored)
        update.routing.policies[0].steps[0].targets[:] = ["schedules/none"]
        update.routing.schedules[0].time_zone = "Mars/Base"
        bad = await refused(service.routing.UpdateRouting(update))
        assert isinstance(bad, InvalidInput)
        assert set(bad.field_violations) == {
            "routing.policies[0].steps[0].targets",
            "routing.schedules[0].time_zone",
        }
        asked = routing_service_pb2.GetOnCallRequest(schedule="ops", time=Timestamp(seconds=0))
        assert not (await service.routing.GetOnCall(asked)).participant
        asked.time.FromJsonString("2026-03-02T08:00:00Z")
        assert (await service.routing.GetOnCall(asked)).participant == ON_CALL
        asked.schedule = "none"
        assert isinstance(await refused(service.routing.GetOnCall(asked)), NotFound)
