"""
Mail over SMTP.

Each message has a Message-ID made from its delivery, the same at every attempt, so a server
that drops repeats (`smtp_deduplicates`) makes uncertain attempts safe to repeat.

    connect ─▶ MAIL ─▶ RCPT ─▶ DATA ─▶ 354 │ message ─▶ . ─▶ 250
    └── anything lost here: not handed ────┘└── lost here: unconfirmed
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import deque
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime, formataddr, parseaddr
from typing import TYPE_CHECKING

import aiosmtplib

from notifier import names
from notifier.channels.seam import Kind
from notifier.model import Reason
from notifier.outcome import Delivered, Dropped, Outcome, Refused, RetryLater, Unconfirmed


if TYPE_CHECKING:
    from collections.abc import Sequence

    from notifier.channels.seam import Parts
    from notifier.model import Lane, Message

ADDRESS = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@(?=.{1,255}\Z)[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+"
)
OURS_TO_MEND = frozenset({530, 535, 538})
"""Replies that are about us, not about the recipient."""


class EmailChannel:
    """
    Sends mail, one message a connection at a time, over connections kept for each lane.

    Args:
        parts: Settings, identity and clock.

    """

    batch_max = 1

    def __init__(self, parts: Parts) -> None:
        settings = parts.settings
        self._settings = settings
        self._workload = parts.workload
        self._clock = parts.clock
        self._sender = parseaddr(settings.smtp_sender)
        self._domain = self._sender[1].rpartition("@")[2]
        self._idle: dict[Lane, deque[aiosmtplib.SMTP]] = {}
        self.repeatable = settings.smtp_deduplicates
        self.concurrency = settings.smtp_connections

    async def deliver(self, batch: Sequence[Message]) -> list[Outcome]:
        return [await self._deliver(message) for message in batch]

    async def close(self) -> None:
        for connections in self._idle.values():
            for client in connections:
                client.close()
        self._idle.clear()

    async def _deliver(self, message: Message) -> Outcome:
        try:
            client = await self._begin(message)
        except Exception as error:
            outcome = _not_handed(error)
            if outcome is None:
                raise
            return outcome
        return await self._hand_over(client, message)

    async def _begin(self, message: Message) -> aiosmtplib.SMTP:
        """Return a connection on which the server has agreed to sender and recipient."""
        idle = self._idle.setdefault(message.lane, deque())
        while True:
            kept = bool(idle)
            client = idle.pop() if kept else await self._connect()
            try:
                await client.mail(self._sender[1])
                await client.rcpt(message.address)
            except aiosmtplib.SMTPResponseException:
                await self._keep(client, message.lane)
                raise
            except BaseException as error:
                client.close()
                # The server may have hung up on an idle connection: nothing is wrong yet.
                if kept and isinstance(error, aiosmtplib.SMTPServerDisconnected):
                    continue
                raise
            return client

    async def _hand_over(self, client: aiosmtplib.SMTP, message: Message) -> Outcome:
        text = compose(message, sender=self._sender, domain=self._domain)
        if self._clock() >= message.useless_after:
            await self._keep(client, message.lane)
            return Dropped(Reason.TOO_LATE)
        try:
            response = await client.data(text)
        except aiosmtplib.SMTPDataError as error:
            await self._keep(client, message.lane)
            return _refusal(error.code, Reason.MESSAGE_REFUSED)
        except (aiosmtplib.SMTPException, OSError) as error:
            client.close()
            return Unconfirmed(Reason.NO_CONFIRMATION, type(error).__name__)
        except BaseException:
            client.close()
            raise
        self._idle[message.lane].append(client)
        return Delivered(f"{message_id(message, self._domain)} {response.message[:80]}")

    async def _keep(self, client: aiosmtplib.SMTP, lane: Lane) -> None:
        try:
            await client.rset()
        except (aiosmtplib.SMTPException, OSError):
            client.close()
        else:
            self._idle.setdefault(lane, deque()).append(client)

    async def _connect(self) -> aiosmtplib.SMTP:
        settings = self._settings
        host, _, port = settings.smtp_address.rpartition(":")
        security = settings.smtp_security
        context: ssl.SSLContext | None = None
        if security == "mesh":
            context = self._workload.client_ssl_context("mailsink")
        elif security != "plain":
            context = ssl.create_default_context()
        client = aiosmtplib.SMTP(
            hostname=host.strip("[]"),
            port=int(port),
            use_tls=security in ("mesh", "tls"),
            start_tls=security == "starttls",
            tls_context=context,
            timeout=settings.attempt_timeout.total_seconds(),
            local_hostname="notifier.aerofusion",
        )
        try:
            await client.connect()
            if settings.smtp_username and settings.smtp_password_file is not None:
                password = await asyncio.to_thread(settings.smtp_password_file.read_text)
                await client.login(settings.smtp_username, password.strip())
        except BaseException:
            client.close()
            raise
        return client


def compose(message: Message, *, sender: tuple[str, str], domain: str) -> bytes:
    """Return the mail, the same bytes for the same message whenever it is made."""
    mail = EmailMessage(policy=SMTP_POLICY.clone(max_line_length=78))
    mail["From"] = formataddr(sender)
    mail["To"] = message.address
    mail["Subject"] = message.subject
    mail["Date"] = format_datetime(message.create_time)
    mail["Message-ID"] = message_id(message, domain)
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-AeroFusion-Notification"] = names.notification_name(
        message.tenant, message.notification
    )
    if message.resent:
        mail["X-AeroFusion-Possible-Duplicate"] = "yes"
    mail.set_content(message.text, cte="quoted-printable")
    if message.html:
        mail.add_alternative(message.html, subtype="html", cte="quoted-printable")
        # Chance has no place here: a repeat must be the same mail, to the byte.
        mail.set_boundary(f"={message.delivery}=")
    # Last: setting a content takes all headers away that are about it.
    mail["Content-Language"] = message.locale
    return mail.as_bytes()


def message_id(message: Message, domain: str) -> str:
    return f"<{message.delivery}@{domain}>"


def address_problem(address: str) -> str:
    """Return what is wrong with a mail address; "" if nothing is."""
    if ADDRESS.fullmatch(address):
        return ""
    return "must be a mail address in ASCII, such as ada@example.org (a domain as punycode)"


def _not_handed(error: Exception) -> Outcome | None:
    """Return the outcome for a fault before the message was handed over; None for a bug."""
    match error:
        case aiosmtplib.SMTPRecipientRefused():
            return _refusal(error.code, Reason.ADDRESS_REFUSED)
        case aiosmtplib.SMTPResponseException():
            return _refusal(error.code, Reason.PROVIDER_REFUSED_US)
        case aiosmtplib.SMTPTimeoutError():
            return RetryLater(Reason.ATTEMPT_TIMED_OUT, type(error).__name__)
        case aiosmtplib.SMTPException() | OSError() | TimeoutError():
            return RetryLater(Reason.PROVIDER_UNREACHABLE, type(error).__name__)
    return None


def _refusal(code: int, lasting: Reason) -> Outcome:
    # The text of a reply often holds the address: the code alone is told.
    detail = f"SMTP {code}"
    if code in OURS_TO_MEND:
        # An operator mends the credentials; the message needn't suffer for it.
        return RetryLater(Reason.PROVIDER_REFUSED_US, detail)
    if 400 <= code < 500:
        return RetryLater(Reason.PROVIDER_BUSY, detail)
    return Refused(lasting, detail)


def _build(parts: Parts) -> EmailChannel | None:
    return EmailChannel(parts) if parts.settings.smtp_address else None


KIND = Kind(build=_build, needs_address=True, address_problem=address_problem, needs_subject=True)
