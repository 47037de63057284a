"""Straight to people, by SMTP and webhooks, without the notifier."""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from typing import TYPE_CHECKING

import aiohttp
import aiosmtplib
import structlog


if TYPE_CHECKING:
    from meshkit.identity import Workload
    from telemetry.alerts.message import Message

log = structlog.get_logger()

WITHIN_S = 10.0
"""How long a mail server or a webhook may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Straight:
    """How to reach people without the notifier."""

    smtp_address: str = ""
    """Mail server as `host:port`; empty: no mail."""

    smtp_security: str = "mesh"
    """As the notifier's: `mesh`, `tls`, `starttls` or `plain`."""

    smtp_sender: str = "alerts@aerofusion.example"


async def mail(straight: Straight, message: Message, workload: Workload | None) -> bool:
    """
    Return whether the mail server took *message*.

    Args:
        workload: Our identity, where the security is `mesh`.

    """
    if not message.fallback_mails or not straight.smtp_address:
        return False
    letter = EmailMessage()
    letter["From"] = straight.smtp_sender
    letter["To"] = ", ".join(message.fallback_mails)
    letter["Subject"] = message.subject.replace("\n", " ")[:200]
    letter["Message-ID"] = f"<{message.id}@{straight.smtp_sender.partition('@')[2]}>"
    letter.set_content(message.text)
    host, _, port = straight.smtp_address.rpartition(":")
    context: ssl.SSLContext | None = None
    if straight.smtp_security == "mesh":
        assert workload is not None, "the mesh's mail server wants an identity"
        context = workload.client_ssl_context("mailsink")
    elif straight.smtp_security != "plain":
        context = ssl.create_default_context()
    try:
        await aiosmtplib.send(
            letter,
            recipients=list(message.fallback_mails),
            hostname=host,
            port=int(port),
            use_tls=straight.smtp_security in {"mesh", "tls"},
            start_tls=straight.smtp_security == "starttls",
            tls_context=context,
            timeout=WITHIN_S,
        )
    except (aiosmtplib.SMTPException, OSError) as error:
        log.warning("mail_not_taken", notification=message.id, error=repr(error)[:200])
        return False
    return True


async def post_all(session: aiohttp.ClientSession, message: Message) -> bool:
    """Return whether any webhook took *message*."""
    posted = await asyncio.gather(
        *(_post(session, address, message) for address in message.fallback_webhooks)
    )
    return any(posted)


async def _post(session: aiohttp.ClientSession, address: str, message: Message) -> bool:
    body = {
        "id": message.id,
        "policy": message.group[0],
        "group": json.loads(message.group[1]),
        "why": message.why.value,
        "subject": message.subject,
        "text": message.text,
        "alerts": [dict(labels) for labels in message.labels],
    }
    limit = aiohttp.ClientTimeout(total=WITHIN_S)
    try:
        async with session.post(
            address, json=body, timeout=limit, allow_redirects=False
        ) as response:
            if response.status < 300:
                return True
            log.warning("webhook_refused", notification=message.id, status=response.status)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        log.warning("webhook_failed", notification=message.id, error=repr(error)[:200])
    return False
