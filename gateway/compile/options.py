"""What the compiler is told besides the catalog: the edge's settings. Fixed while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from meshkit.tokens import AUDIENCE, ISSUER


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeOptions:
    """Settings of the edge's one listener and of the filters in it."""

    address: str = "127.0.0.1"
    port: int = 8443
    cors_origins: tuple[str, ...] = ()
    """Origins, such as `https://console.example`, whose pages may call. `*`: every origin."""

    issuer: str = ISSUER
    audience: str = AUDIENCE
    clock_skew: timedelta = timedelta(seconds=30)
    """How far a token's times may be off."""

    client_roots_pem: str = ""
    """Roots of certificates that clients may show, PEM; "": none is asked for."""

    token_cache_size: int = 16_384
    """Verified tokens each worker remembers, some 2 KiB each; verifying costs more than all else."""

    trace_sampling: float = 1.0
    """Share of requests without a trace of their own that get one, in percent, in steps of
    0.01. Whether one that a caller has begun is followed, the caller has decided."""

    telemetry_service: str = "services/telemetry"
    """Where access logs and spans go; "" for nowhere."""

    gateway_service: str = "services/gateway"
    """Who divides quotas and keeps strict limits."""

    edge_count: int = 1
    """How many edges there are: what a quota is divided by while nobody divides it by demand."""

    strict_timeout: timedelta = timedelta(milliseconds=250)
    """How long a call waits for a strict limit; then `limits_fallback` decides."""

    limits_fallback: str = "share"
    """What holds for quotas and strict limits while the gateway is away: an edge's `share` of a
    quota (and strict limits let calls through), or `deny`, or `allow`."""

    streams_per_connection_max: int = 256
    idle_connection_timeout: timedelta = timedelta(hours=1)
    """How long a connection may have no request on it."""

    request_headers_kib_max: int = 12
    """Below what services take, with room for the headers the edge adds."""

    connections_per_second_max: int = 1000
    json_body_bytes_max: int = 4 * 1024 * 1024
    """Largest body of a JSON request or response."""

    compression: bool = True
    """Answers of JSON and text are compressed for callers that want it."""

    http3: bool = False
    http3_port: int = 0
    """UDP port that callers are told of; 0: the listener's own."""
