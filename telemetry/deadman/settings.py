"""What the dead man's switch can be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from meshkit.settings import MeshSettings, Range


SMTP_SECURITY = ("tls", "starttls", "plain", "mesh")


@dataclass(frozen=True, kw_only=True)
class Settings(MeshSettings):
    """Settings of `telemetry deadman`, read from `DEADMAN_*`. It serves nothing."""

    telemetry_socket: Path
    """Unix socket of telemetry's HTTP API (`TELEMETRY_HTTP_UNIX_SOCKET`)."""

    interval: Annotated[timedelta, Range(0.1, 60)] = timedelta(seconds=5)
    """How often telemetry is asked."""

    stalled_after: Annotated[timedelta, Range(0.5, 3600)] = timedelta(seconds=20)
    """How long after they are due rules may not be evaluated."""

    grace: Annotated[timedelta, Range(0, 3600)] = timedelta(0)
    """How much longer telemetry may take to be heard for the first time: it starts, too."""

    repeat: Annotated[timedelta, Range(1, 86_400)] = timedelta(minutes=15)
    """How often it pages again while rules stand still."""

    webhooks: str = field(default="", repr=False)
    """Addresses that get a POST of JSON, with commas between them; they may hold secrets."""

    mails: str = ""
    """Mail addresses, with commas between them."""

    smtp_address: str = ""
    """Mail server as `host:port`. Empty: no mail."""

    smtp_security: str = "starttls"
    """`tls`, `starttls`, `plain`, or `mesh`: by the identity in `identity_dir`, telemetry's."""

    smtp_sender: str = "deadman@aerofusion.example"
    """Sender of all mail."""

    def __post_init__(self) -> None:
        host, _, port = self.smtp_address.rpartition(":")
        problems = []
        if not self.webhooks and not (self.mails and self.smtp_address):
            problems.append("webhooks: must be set, or mails and smtp_address")
        if self.smtp_security not in SMTP_SECURITY:
            problems.append("smtp_security: must be one of " + ", ".join(SMTP_SECURITY))
        if self.smtp_address and not (host and port.isdigit()):
            problems.append("smtp_address: must be host:port")
        if problems:
            raise ValueError("\n".join(problems))
