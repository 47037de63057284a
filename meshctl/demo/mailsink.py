"""
Receives the day's mail: SMTP with implicit mutual TLS, into a Maildir of the newest mails.

It stands where a provider's server would. Only the notifier may hand it mail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path
from typing import cast

import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session
from cryptography import x509
from opentelemetry import metrics

from meshctl.demo.counts import Counts
from meshctl.demo.maildir import BoundedMaildir
from meshctl.demo.settings import MailsinkSettings
from meshctl.demo.waiting import until
from meshkit.errors import Unauthenticated
from meshkit.identity import Workload, certificate_spiffe_id
from meshkit.ids import new_id
from meshkit.observability import observed
from meshkit.serving import ListenFailed


SENDERS = frozenset({"notifier", "telemetry"})
COUNTS_INTERVAL = timedelta(seconds=1)
COMMAND_TIMEOUT_S = 60.0

log = structlog.get_logger()


class Sink:
    """Takes each mail in, or says why not. An aiosmtpd handler."""

    def __init__(self, maildir: BoundedMaildir, counts: Counts) -> None:
        self._maildir = maildir
        self._counts = counts
        meter = metrics.get_meter("mailsink")
        self._mails = meter.create_counter(
            "mailsink.mails", unit="{mail}", description="Mails taken in"
        )
        self._bytes = meter.create_counter(
            "mailsink.received", unit="By", description="Content of the mails taken in"
        )

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Write the mail, then take responsibility for it: the answer is its receipt."""
        content = envelope.content
        assert isinstance(content, bytes), "decode_data is off"
        mail_id = new_id()
        trail = (
            f"Return-Path: <{envelope.mail_from}>\r\n"
            + "".join(f"Delivered-To: {to}\r\n" for to in envelope.rcpt_tos)
            + f"Received: from {session.host_name} by mailsink with ESMTPS id {mail_id};"
            f" {formatdate(usegmt=True)}\r\n"
        )
        try:
            self._maildir.add(mail_id, trail.encode("utf-8", "replace") + content)
        except OSError as error:
            log.warning("mail_not_written", error=str(error))
            self._counts.add("mails_refused")
            return "452 4.3.1 The mail could not be stored; try again later"
        self._mails.add(1)
        self._bytes.add(len(content))
        self._counts.add("mails")
        self._counts.add("bytes", len(content))
        return f"250 2.0.0 Ok: kept as {mail_id}"


class Door(SMTP):
    """One connection. Lets in the notifier, and only so many at once."""

    def __init__(self, handler: Sink, *, connections: set[Door], most: int, size_max: int) -> None:
        super().__init__(
            handler,
            data_size_limit=size_max,
            enable_SMTPUTF8=True,
            hostname="mailsink.aerofusion",
            ident="mailsink",
            timeout=COMMAND_TIMEOUT_S,
            loop=asyncio.get_running_loop(),
        )
        self._connections = connections
        self._most = most

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        refusal = ""
        if len(self._connections) >= self._most:
            refusal = "421 4.7.0 Too many connections; try again later"
        elif sender(transport) not in SENDERS:
            refusal = "554 5.7.1 This certificate may not send mail here"
        if refusal:
            cast("asyncio.WriteTransport", transport).write(f"{refusal}\r\n".encode())
            transport.close()
            return
        self._connections.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self in self._connections:
            self._connections.discard(self)
            super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        if self in self._connections:
            super().data_received(data)

    def eof_received(self) -> bool | None:
        return super().eof_received() if self in self._connections else None


def sender(transport: asyncio.BaseTransport) -> str:
    """The service at the other end, by its certificate; empty if it is none of the mesh."""
    tls = transport.get_extra_info("ssl_object")
    certificate = tls.getpeercert(binary_form=True) if tls is not None else None
    if certificate is None:
        return ""
    try:
        return certificate_spiffe_id(x509.load_der_x509_certificate(certificate)).service
    except (Unauthenticated, ValueError):
        return ""


async def serve(
    settings: MailsinkSettings,
    *,
    stop: asyncio.Event,
    started: asyncio.Future[int] | None = None,
    workload: Workload | None = None,
) -> None:
    """
    Take mail until *stop* is set.

    Args:
        settings: What to do.
        stop: Ends it.
        started: Receives the port once mail is taken.
        workload: Who we are; for tests.

    Raises:
        ListenFailed: The address is taken or not ours.

    """
    workload = workload or await Workload.open(settings, "mailsink")
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    counts = Counts(part="mailsink", folder=settings.state_dir)
    async with (
        observed("mailsink", settings.replica, workload, settings.telemetry_address),
        asyncio.TaskGroup() as tasks,
    ):
        renewal = tasks.create_task(workload.run(), name="renew-identity")
        maildir = BoundedMaildir(settings.state_dir / "maildir", settings.mails_max)
        connections: set[Door] = set()
        server = await _listen(
            settings,
            workload,
            lambda: Door(
                Sink(maildir, counts),
                connections=connections,
                most=settings.connections_max,
                size_max=settings.mail_bytes_max,
            ),
        )
        port = server.sockets[0].getsockname()[1]
        log.info("serving", port=port)
        if started is not None:
            started.set_result(port)
        while not stop.is_set():
            counts.write(datetime.now(UTC), kept=len(maildir), connections=len(connections))
            await until(stop, COUNTS_INTERVAL)
        server.close()
        for door in tuple(connections):
            if door.transport is not None:
                door.transport.close()
        await server.wait_closed()
        counts.write(datetime.now(UTC), kept=len(maildir), connections=0)
        renewal.cancel()


async def _listen(
    settings: MailsinkSettings, workload: Workload, door: Callable[[], Door]
) -> asyncio.Server:
    host, _, port = settings.listen.rpartition(":")
    try:
        return await asyncio.get_running_loop().create_server(
            door, host, int(port), ssl=workload.server_ssl_context()
        )
    except OSError as error:
        raise ListenFailed(f"cannot listen on {settings.listen}: {error}") from error


def maildir_folder(state_dir: Path) -> Path:
    """Where the mails are, of a mailsink with this state folder."""
    return state_dir / "maildir"
