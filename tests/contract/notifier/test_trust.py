"""Who may do what: services produce, passengers see their own inbox, operators see all."""

import base64
import json
import time
from collections.abc import Callable

import grpc
import pytest

from aerofusion.notify.v1 import inbox_service_pb2 as inbox_pb
from aerofusion.notify.v1 import notification_service_pb2 as pb
from aerofusion.notify.v1 import recipient_service_pb2 as recipient_pb
from tests.contract.notifier.conftest import TENANT, Client, notification
from tests.contract.notifier.test_intake import refused


def claims(subject: str, *roles: str, tenant: str = "airport") -> list[tuple[str, str]]:
    now = int(time.time())
    payload = {
        "iss": "aerofusion",
        "aud": "aerofusion-mesh",
        "sub": subject,
        "tenant": tenant,
        "roles": roles,
        "jti": "1",
        "iat": now,
        "exp": now + 60,
    }
    header = {"typ": "JWT", "alg": "ES256", "kid": "1"}
    # Signatures are the edge's business; only it can say these claims at all.
    token = f"{part(header)}.{part(payload)}.{part('signature')}"
    return [("authorization", f"Bearer {token}"), ("x-aerofusion-claims", part(payload))]


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def watch(client, recipient: str, metadata):
    async def read():
        request = inbox_pb.WatchInboxRequest(parent=f"{TENANT}/recipients/{recipient}")
        call = client.inbox.WatchInbox(request, metadata=metadata)
        answer = await call.read()
        call.cancel()
        return answer

    return read()


@pytest.fixture
async def edge(client, ca):
    await client.add_template()
    await client.add_recipient("p1", channels=["inapp"])
    await client.add_recipient("p2", channels=["inapp"])
    address = f"127.0.0.1:{client.port}"
    async with ca.workload("edge").channel(address, service="notifier") as channel:
        yield Client(channel, client.port)


async def test_a_passenger_sees_their_own_inbox(edge):
    answer = await watch(edge, "p1", claims("passengers/p1", "passenger"))

    assert answer.WhichOneof("event") == "caught_up"


@pytest.mark.parametrize("subject", ["passengers/p2", "services/p1", "devices/p1"])
async def test_a_passenger_sees_no_other_inbox(edge, subject):
    metadata = claims(subject, "passenger")

    for call in (
        watch(edge, "p1", metadata),
        edge.inbox.ListInboxMessages(
            inbox_pb.ListInboxMessagesRequest(parent=f"{TENANT}/recipients/p1"), metadata=metadata
        ),
        edge.inbox.MarkRead(
            inbox_pb.MarkReadRequest(parent=f"{TENANT}/recipients/p1"), metadata=metadata
        ),
        edge.recipients.GetRecipient(
            recipient_pb.GetRecipientRequest(name=f"{TENANT}/recipients/p1"), metadata=metadata
        ),
    ):
        code, reason, _ = await refused(call)
        assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_YOUR_INBOX")


async def test_another_tenant_is_out_of_reach(edge):
    for metadata in (
        claims("passengers/p1", "passenger", tenant="other"),
        claims("services/flightinfo", "service", tenant="other"),
    ):
        code, reason, _ = await refused(watch(edge, "p1", metadata))
        assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "TENANT_NOT_ALLOWED")


async def test_an_operator_sees_every_inbox(edge):
    answer = await watch(edge, "p2", claims("operators/ada", "operator", tenant=""))

    assert answer.WhichOneof("event") == "caught_up"


def create(client, metadata):
    request = pb.CreateNotificationRequest(parent=TENANT, notification=notification("p1"))
    return client.notifications.CreateNotification(request, metadata=metadata)


async def test_a_service_may_notify_through_the_edge(edge):
    made = await create(edge, claims("services/flightinfo", "service"))

    assert made.notification.name


@pytest.mark.parametrize("roles", [("passenger",), ("device",), ("passenger", "device")])
async def test_nobody_else_may_notify(edge, roles):
    code, reason, _ = await refused(create(edge, claims("passengers/p1", *roles)))

    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "CALLER_NOT_ALLOWED")


async def test_without_claims_the_edge_is_nobody(edge):
    code, _, _ = await refused(create(edge, []))

    assert code == grpc.StatusCode.UNAUTHENTICATED


async def test_claims_of_another_peer_are_not_believed(start: Callable):
    async with start(peer="mailsink") as client:
        code, reason, _ = await refused(create(client, claims("operators/ada", "operator")))

    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "CALLER_NOT_ALLOWED")
