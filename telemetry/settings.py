"""What the telemetry service can be told."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from meshkit.settings import MeshSettings, Range


SMTP_SECURITY = ("mesh", "tls", "starttls", "plain")


@dataclass(frozen=True, kw_only=True)
class Settings(MeshSettings):
    """Settings of the telemetry service, read from `TELEMETRY_*`."""

    state_dir: Path = Path("telemetry-state")
    """Folder of the log and the tables; made if it is absent. One process at a time."""

    http_listen: str = "127.0.0.1:0"
    """Address of Prometheus's HTTP API (mutual TLS). Port 0 picks a free one."""

    http_unix_socket: Path | None = None
    """Unix socket of the same API without TLS, for whoever may open it."""

    message_bytes_max: Annotated[int, Range(64 * 1024, 64 * 1024 * 1024)] = 64 * 1024 * 1024
    """Largest request of telemetry, as it comes and unpacked."""

    segment_age: Annotated[timedelta, Range(0.05, 60)] = timedelta(seconds=1)
    """How long what was acknowledged may take to be found."""

    waiting_bytes_max: Annotated[int, Range(1024 * 1024, 1 << 34)] = 64 * 1024 * 1024
    """Requests in memory that wait to be written; beyond it they are refused for now."""

    log_bytes_max: Annotated[int, Range(1024 * 1024, 1 << 40)] = 2 * 1024 * 1024 * 1024
    """What is logged and not loaded yet; beyond it requests are refused for now."""

    series_max: Annotated[int, Range(1000, 100_000_000)] = 1_000_000
    """Series kept; points that would make more are refused."""

    tenant_series_max: Annotated[int, Range(1000, 100_000_000)] = 1_000_000
    """Series kept of one tenant; points that would make more are refused."""

    tenant_points_per_s: Annotated[int, Range(0, 1_000_000_000)] = 0
    """Points, log records and spans of one tenant a second; beyond it they are refused for now.
    0: any number."""

    tenant_new_series_per_s: Annotated[int, Range(0, 10_000_000)] = 5_000
    """Series of one tenant that become known a second; requests with more wait up to 5 s, and are
    refused for now beyond it. 0: any number."""

    retention: Annotated[timedelta, Range(86_400, 3_650 * 86_400)] = timedelta(days=90)
    """How long metrics, logs and traces stay; whole days."""

    retention_overrides: str = ""
    """Where it isn't that: `tenant/signal=30d` with the signals metrics, logs and traces,
    separated by commas. The mesh's own tenant has no name: `/logs=14d`."""

    disk_bytes_max: Annotated[int, Range(0, 1 << 60)] = 0
    """Disk that the tables may take; from four fifths of it on a warning is logged. 0: any."""

    scrape_config: Path | None = None
    """File of endpoints to scrape, as Prometheus has it (`scrape_configs`, `static_configs`)."""

    tenants_max: Annotated[int, Range(1, 100_000)] = 1_000
    """Tenants that may have series; others are refused."""

    metric_series_max: Annotated[int, Range(10, 100_000_000)] = 200_000
    """Series of one metric of one tenant; beyond it its label with the most values is folded."""

    head_bytes_max: Annotated[int, Range(1024 * 1024, 1 << 40)] = 1024 * 1024 * 1024
    """Memory of the newest samples; older ones are read from the tables."""

    head_span: Annotated[timedelta, Range(0, 86_400)] = timedelta(minutes=10)
    """How far back a start reads samples into memory, as far as half of it allows."""

    rules_interval: Annotated[timedelta, Range(0.1, 3600)] = timedelta(seconds=1)
    """How often rules are evaluated whose group names no interval."""

    rule_timeout: Annotated[timedelta, Range(0.1, 60)] = timedelta(seconds=5)
    """How long one rule's query may take; longer, and its evaluation failed."""

    notifier_address: str = ""
    """The notifier's gRPC address, for alerts. Empty: they go straight, as their policies say."""

    alert_smtp_address: str = ""
    """Mail server for alerts the notifier doesn't take, as `host:port`. Empty: no mail."""

    alert_smtp_security: str = "mesh"
    """As the notifier's `smtp_security`: `mesh`, `tls`, `starttls` or `plain`."""

    alert_smtp_sender: str = "alerts@aerofusion.example"
    """Sender of that mail."""

    postgres_connections: Annotated[int, Range(2, 100)] = 4
    """Connections to PostgreSQL. Without `TELEMETRY_POSTGRES_DSN` there are no rules."""

    map_spans_max: Annotated[int, Range(1024, 1 << 24)] = 262_144
    """Spans that may wait for their parents or children at once, for the service map; rounded up
    to a power of two. Each takes 120 bytes."""

    map_wait: Annotated[timedelta, Range(0.05, 600)] = timedelta(seconds=60)
    """How long a span waits; then whom it called, or who called it, isn't instrumented."""

    trace_spans_per_second: Annotated[float, Range(0, 1e7)] = 0.0
    """Spans that may stay of all that come, on average; 0: all. Traces that went wrong or took long
    stay even beyond it, of the others a share that fits, and each says for how many it stands."""

    store_readers: Annotated[int, Range(1, 32)] = 2
    """Queries under way at once."""

    store_memory_bytes_max: Annotated[int, Range(2e8, 1e12)] = 2_000_000_000
    """Memory of the engine, over all queries and merges."""

    clickhouse_url: str = ""
    """ClickHouse that keeps the tables, over HTTP: `https://user@host:8443/database`. Empty: it
    runs in this process, and they are in the state folder."""

    clickhouse_password_file: Path | None = field(default=None, repr=False)
    """File that holds the password of that user and nothing else."""

    clickhouse_ca_file: Path | None = None
    """Certificate of who signed its server's. Without it, the system's are trusted."""

    clickhouse_cluster: str = ""
    """Its cluster, as in `remote_servers`: tables are replicated and distributed. Empty: a single
    server."""

    backup_dir: Path | None = None
    """Folder of backups, best on another disk. Empty: none are made."""

    backup_every: Annotated[timedelta, Range(0, 7 * 86_400)] = timedelta(0)
    """How often a backup is made by itself. 0: only when it is asked for."""

    backups_kept: Annotated[int, Range(1, 1000)] = 24
    """How many backups stay; older ones are removed."""

    def __post_init__(self) -> None:
        host, _, port = self.alert_smtp_address.rpartition(":")
        problems = []
        if self.alert_smtp_security not in SMTP_SECURITY:
            problems.append(f"alert_smtp_security: must be one of {', '.join(SMTP_SECURITY)}")
        if self.alert_smtp_address and not (host and port.isdigit()):
            problems.append("alert_smtp_address: must be host:port")
        if "@" not in self.alert_smtp_sender or any(c in self.alert_smtp_sender for c in "\r\n"):
            problems.append("alert_smtp_sender: must be a mail address")
        problems += _about_clickhouse(self.clickhouse_url, self.clickhouse_cluster)
        if problems:
            raise ValueError("\n".join(problems))


def _about_clickhouse(url: str, cluster: str) -> list[str]:
    parts = urlsplit(url)
    problems = []
    if url and (parts.scheme not in {"http", "https"} or not parts.hostname):
        problems.append("clickhouse_url: must be http(s)://user@host:port/database")
    if parts.password:
        problems.append("clickhouse_url: the password belongs into clickhouse_password_file")
    if cluster and not (url and re.fullmatch(r"[A-Za-z0-9_.-]+", cluster)):
        problems.append("clickhouse_cluster: must be a name, and clickhouse_url be set")
    return problems
