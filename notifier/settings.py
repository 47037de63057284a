"""Everything that can be configured about the notifier, and every bound it keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from meshkit.settings import MeshSettings, Range


SMTP_SECURITY = ("mesh", "tls", "starttls", "plain")


@dataclass(frozen=True, kw_only=True)
class Settings(MeshSettings):
    """Each field is read from `NOTIFIER_<FIELD>`; durations are in seconds."""

    smtp_address: str = ""
    """Mail server as `host:port`. Empty: the channel `email` is not configured."""

    smtp_security: str = "mesh"
    """
    `mesh`: TLS with this process's identity, to the service `mailsink`. `tls`: TLS from the
    start, verified by the system's roots. `starttls`: upgraded, or nothing is sent. `plain`: none.
    """

    smtp_username: str = ""
    """Name to log in with. Empty: no login."""

    smtp_password_file: Path | None = field(default=None, repr=False)
    """File that holds the password and nothing else."""

    smtp_sender: str = "AeroFusion <notifications@aerofusion.example>"
    """Sender of all mail, as in `From:`."""

    smtp_deduplicates: bool = False
    """
    Whether the mail server drops a message whose Message-ID it has taken before. Then an
    uncertain delivery is simply repeated.
    """

    smtp_connections: Annotated[int, Range(1, 64)] = 4
    """Connections each lane may hold open; so many mails are under way at once in it."""

    inapp_batch: Annotated[int, Range(1, 1000)] = 200
    """Most inbox messages written in one transaction."""

    attempts_max: Annotated[int, Range(1, 50)] = 8
    """Attempts per delivery, the first included."""

    attempt_timeout: Annotated[timedelta, Range(0.1, 60)] = timedelta(seconds=10)
    """Longest a channel may take for one attempt."""

    lease_margin: Annotated[timedelta, Range(0.5, 300)] = timedelta(seconds=5)
    """How long after `attempt_timeout` an attempt without a result counts as crashed."""

    poll_interval: Annotated[timedelta, Range(0.05, 60)] = timedelta(seconds=1)
    """How often queues and inboxes are read when no hint comes."""

    backlog_max: Annotated[int, Range(1, 100_000_000)] = 1_000_000
    """Deliveries waiting; beyond it new notifications are refused."""

    streams_max: Annotated[int, Range(1, 100_000)] = 2_000
    """Live inbox streams of this process; beyond it new ones are refused."""

    stream_age: Annotated[timedelta, Range(1, 86_400)] = timedelta(minutes=25)
    """How long a stream lasts before its client is asked to call again; up to a fifth more."""

    heartbeat: Annotated[timedelta, Range(0.05, 10)] = timedelta(seconds=8)
    """How often a silent stream is written to."""

    retention: Annotated[timedelta, Range(3600, 31_536_000)] = timedelta(days=30)
    """How long finished notifications and inbox messages are kept."""

    postgres_connections: Annotated[int, Range(4, 100)] = 12
    """Connections to PostgreSQL."""

    def __post_init__(self) -> None:
        host, _, port = self.smtp_address.rpartition(":")
        login = bool(self.smtp_username), self.smtp_password_file is not None
        faults = {
            "postgres_dsn: must be set": not self.postgres_dsn,
            f"smtp_security: must be one of {', '.join(SMTP_SECURITY)}": (
                self.smtp_security not in SMTP_SECURITY
            ),
            "smtp_address: must be host:port": (
                bool(self.smtp_address) and not (host and port.isdigit())
            ),
            "smtp_sender: must be a mail address": (
                "@" not in self.smtp_sender or any(c in self.smtp_sender for c in "\r\n")
            ),
            "smtp_password_file: must be set with smtp_username": login[0] != login[1],
        }
        if problems := [problem for problem, wrong in faults.items() if wrong]:
            raise ValueError("\n".join(problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Every bound of what callers send, in one place. The contract states the same numbers."""

    batch_max: int = 1_000
    recipients_max: int = 1_000
    topics_max: int = 10
    variables_bytes_max: int = 16_384
    variables_depth_max: int = 8
    labels_max: int = 16
    label_chars_max: int = 128
    subject_key_chars_max: int = 256
    request_id_chars_max: int = 128
    useless_after_ahead_max: timedelta = timedelta(days=30)
    display_name_chars_max: int = 200
    address_chars_max: int = 512
    contents_max: int = 200
    source_chars_max: int = 32_768
    timeline_page_max: int = 1_000


LIMITS = Limits()
