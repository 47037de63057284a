"""A running notifier: real PostgreSQL, a real mail server, real gRPC over mutual TLS."""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP

from aerofusion.notify.v1 import inbox_service_pb2 as inbox_pb
from aerofusion.notify.v1 import inbox_service_pb2_grpc as inbox_grpc
from aerofusion.notify.v1 import notification_service_pb2 as pb
from aerofusion.notify.v1 import notification_service_pb2_grpc as grpc_pb
from aerofusion.notify.v1 import recipient_service_pb2 as recipient_pb
from aerofusion.notify.v1 import recipient_service_pb2_grpc as recipient_grpc
from aerofusion.notify.v1 import subscription_service_pb2 as subscription_pb
from aerofusion.notify.v1 import subscription_service_pb2_grpc as subscription_grpc
from aerofusion.notify.v1 import template_service_pb2 as template_pb
from aerofusion.notify.v1 import template_service_pb2_grpc as template_grpc
from notifier.app import serve
from notifier.settings import Settings


TENANT = "tenants/airport"
WITHIN_S = 20.0

FINAL = frozenset({pb.Notification.STATE_COMPLETED, pb.Notification.STATE_CANCELLED})


@dataclass
class Sink:
    """A real SMTP server (aiosmtpd) that answers as its test tells it to."""

    mails: list[EmailMessage] = field(default_factory=list)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)
    reply: Callable[[str], str] = field(default=lambda _: "250 OK")
    """Reply to a message for a recipient."""
    rcpt_reply: Callable[[str], str] = field(default=lambda _: "250 OK")
    hang_up_after_data: bool = False
    """Take the message and close the connection without a word."""
    port: int = 0

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server, session, envelope, address, options
    ):
        reply = self.rcpt_reply(address)
        if reply.startswith("250"):
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server, session, envelope
    ):
        reply = self.reply(envelope.rcpt_tos[0])
        if reply.startswith("250"):
            async with self.arrived:
                self.mails.append(
                    email.message_from_bytes(envelope.content, policy=email.policy.default)
                )
                self.arrived.notify_all()
        if self.hang_up_after_data:
            server.transport.abort()
        return reply

    async def wait_for(self, number: int) -> list[EmailMessage]:
        async with asyncio.timeout(WITHIN_S), self.arrived:
            await self.arrived.wait_for(lambda: len(self.mails) >= number)
        return self.mails


@pytest.fixture
async def sink(ca) -> AsyncIterator[Sink]:
    made = Sink()
    loop = asyncio.get_running_loop()
    workload = ca.workload("mailsink")
    server = await loop.create_server(
        lambda: SMTP(made, hostname="mailsink", loop=loop, enable_SMTPUTF8=True),
        "127.0.0.1",
        0,
        ssl=workload.server_ssl_context(),
    )
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


class Client:
    """Stubs of all services, as the peer that its certificate names."""

    def __init__(self, channel: Any, port: int) -> None:
        self.channel = channel
        self.port = port
        self.notifications = grpc_pb.NotificationServiceStub(channel)
        self.inbox = inbox_grpc.InboxServiceStub(channel)
        self.recipients = recipient_grpc.RecipientServiceStub(channel)
        self.subscriptions = subscription_grpc.SubscriptionServiceStub(channel)
        self.templates = template_grpc.TemplateServiceStub(channel)

    async def add_template(self, template: str = "delay", **changes: Any) -> None:
        contents = changes.pop("contents", None) or [
            template_pb.TemplateContent(
                channel=channel,
                subject="{{ flight }} is late",
                text="Hello {{ recipient.display_name }}, {{ flight }} leaves at {{ time }}.",
                html="<p>{{ flight }}</p>",
            )
            for channel in ("email", "inapp")
        ]
        await self.templates.UpdateTemplate(
            template_pb.UpdateTemplateRequest(
                template=template_pb.Template(
                    name=f"{TENANT}/templates/{template}", contents=contents, **changes
                ),
                allow_missing=True,
            )
        )

    async def add_recipient(self, recipient: str, **changes: Any) -> recipient_pb.Recipient:
        values: dict[str, Any] = {
            "display_name": recipient.upper(),
            "addresses": [recipient_pb.Address(channel="email", value=f"{recipient}@example.org")],
            "channels": ["email", "inapp"],
        } | changes
        answer = await self.recipients.UpdateRecipient(
            recipient_pb.UpdateRecipientRequest(
                recipient=recipient_pb.Recipient(name=f"{TENANT}/recipients/{recipient}", **values),
                allow_missing=True,
            )
        )
        return answer.recipient

    async def subscribe(self, topic: str, *recipients: str) -> int:
        answer = await self.subscriptions.BatchCreateSubscriptions(
            subscription_pb.BatchCreateSubscriptionsRequest(
                parent=TENANT,
                subscriptions=[
                    subscription_pb.Subscription(
                        topic=f"{TENANT}/topics/{topic}", recipient=f"{TENANT}/recipients/{one}"
                    )
                    for one in recipients
                ],
            )
        )
        return answer.created_count

    async def notify(
        self, *recipients: str, request_id: str = "", **changes: Any
    ) -> pb.Notification:
        answer = await self.notifications.CreateNotification(
            pb.CreateNotificationRequest(
                parent=TENANT,
                notification=notification(*recipients, **changes),
                request_id=request_id,
            )
        )
        return answer.notification

    async def get(self, name: str) -> pb.GetNotificationResponse:
        return await self.notifications.GetNotification(pb.GetNotificationRequest(name=name))

    async def settled(
        self, name: str, done: Callable[[pb.GetNotificationResponse], bool] | None = None
    ) -> pb.GetNotificationResponse:
        """The notification once it is final, or once *done* says so."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                found = await self.get(name)
                if done(found) if done else found.notification.state in FINAL:
                    return found
                await asyncio.sleep(0.02)  # polls

    async def messages(self, recipient: str, **asked: Any) -> inbox_pb.ListInboxMessagesResponse:
        return await self.inbox.ListInboxMessages(
            inbox_pb.ListInboxMessagesRequest(parent=f"{TENANT}/recipients/{recipient}", **asked)
        )


def notification(*recipients: str, **changes: Any) -> pb.Notification:
    variables = changes.pop("variables", {"flight": "UA1545", "time": "10:15"})
    made = pb.Notification(
        recipients=[f"{TENANT}/recipients/{one}" for one in recipients],
        template=changes.pop("template", f"{TENANT}/templates/delay"),
        **changes,
    )
    made.variables.update(variables)
    return made


def kinds(found: pb.GetNotificationResponse) -> list[str]:
    return [pb.TimelineEvent.Kind.Name(e.kind).removeprefix("KIND_") for e in found.timeline]


def reasons(found: pb.GetNotificationResponse) -> dict[str, str]:
    """Reasons by channel."""
    return {
        e.channel: pb.Reason.Name(e.reason).removeprefix("REASON_")
        for e in found.timeline
        if e.reason
    }


@pytest.fixture
async def settings(postgres, sink) -> Settings:
    return Settings(
        postgres_dsn=await postgres.database("notifier"),
        smtp_address=f"127.0.0.1:{sink.port}",
        # As few of both as will do: a test would spend most of its work on them.
        poll_interval=timedelta(seconds=0.3),
        postgres_connections=4,
        lease_margin=timedelta(seconds=0.5),
        attempt_timeout=timedelta(seconds=5),
        heartbeat=timedelta(seconds=1),
        shutdown_grace=timedelta(seconds=2),
    )


@pytest.fixture
def start(run_serve, ca, settings) -> Callable[..., Any]:
    """`async with start() as client:` runs a notifier; the client is the service flightinfo."""

    @contextlib.asynccontextmanager
    async def started(configured: Settings = settings, peer: str = "flightinfo"):
        async with contextlib.AsyncExitStack() as stack:
            port = await stack.enter_async_context(
                run_serve(serve, configured, workload=ca.workload("notifier"))
            )
            channel = await stack.enter_async_context(
                ca.workload(peer).channel(f"127.0.0.1:{port}", service="notifier")
            )
            yield Client(channel, port)

    return started


@pytest.fixture
async def client(start) -> AsyncIterator[Client]:
    async with start() as made:
        yield made
