"""Everything that can be configured about the gateway. Fields are read from `GATEWAY_<FIELD>`."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from cryptography import x509

from gateway.access.jwks import Network
from gateway.compile.options import EdgeOptions
from gateway.sources.keeper import KeeperLimits
from gateway.sources.registry import RegistryLimits
from gateway.sources.source import SourceSettings
from gateway.xds.ads import AdsLimits
from meshkit.settings import MeshSettings, Range


@dataclass(frozen=True, kw_only=True)
class Settings(MeshSettings):
    """The gateway's settings. Durations are in seconds."""

    join_listen: str = "127.0.0.1:0"
    """Address where processes get their first certificate. Port 0 picks a free one."""

    join_address: str = ""
    """How others reach `join_listen`, `host:port`. Empty: where it listens."""

    peer_address: str = ""
    """How other replicas reach this one, `host:port`. Empty: where it listens."""

    reference_listen: str = ""
    """Address where edges fetch the API reference, `host:port`; `services/reference` in the catalog
    says where that is. Empty: none is served."""

    edge_listen: str = "127.0.0.1:8443"
    """Address of the edge's public listener; an IP address and a port."""

    edge_cors_origins: str = ""
    """Origins whose web pages may call, with commas between; `*` for every one."""

    edge_trace_sampling: Annotated[float, Range(0, 100)] = 1.0
    """Share of requests that get a trace if they bring none, in percent, in steps of 0.01."""

    edge_streams_per_connection_max: Annotated[int, Range(1, 10_000)] = 256
    """Calls and streams at once on one connection to the edge."""

    edge_count: Annotated[int, Range(1, 1_000)] = 1
    """How many edges there are: each keeps so large a part of a quota while the gateway is away."""

    strict_limit_timeout: Annotated[timedelta, Range(0.01, 10)] = timedelta(seconds=0.25)
    """How long a call waits at the edge for a strict limit; then `limits_fallback` decides."""

    limits_fallback: str = "share"
    """What edges do about quotas and strict limits while the gateway is away: `share` keeps an even
    part of each quota and lets strict limits pass, `deny` refuses, `allow` lets all through."""

    edge_idle_connection_timeout: Annotated[timedelta, Range(1, 86_400)] = timedelta(hours=1)
    """How long a connection to the edge may have no request on it."""

    edge_connections_per_second_max: Annotated[int, Range(1, 100_000)] = 1_000
    """New connections the edge takes each second; more are closed at once."""

    edge_compression: bool = True
    """Answers of JSON, HTML and other text are compressed for callers that say they want it."""

    edge_http3: bool = False
    """HTTP/3 on the UDP port of `edge_listen`, told of in `alt-svc`. Its port is shared by whoever
    listens there (`SO_REUSEPORT`): a second edge on it would take packets, and TCP says so only.
    Callers are asked for no certificate."""

    edge_http3_port: Annotated[int, Range(0, 65_535)] = 0
    """UDP port that callers are told of, where another is mapped to it; 0: that of `edge_listen`."""

    edge_linger: Annotated[timedelta, Range(0, 60)] = timedelta(seconds=5)
    """How long clusters that nothing points at any more stay at the edges, for requests that were
    matched before and wait their turn."""

    edge_client_roots_file: str = ""
    """File with the roots (PEM) of certificates that clients may show at the edge. Empty: none is
    asked for. One that isn't of theirs ends the handshake; HTTP/3 asks for none."""

    issuer_networks: str = ""
    """Networks of private addresses from which issuers' key sets may be fetched, with commas
    between. Empty: public addresses only."""

    ads_streams_max: Annotated[int, Range(1, 10_000)] = 500
    """Discovery streams at once."""

    ads_starting_max: Annotated[int, Range(1, 10_000)] = 50
    """Discovery streams brought up to date at once; others wait, those that hold nothing least."""

    ads_barrier_timeout: Annotated[timedelta, Range(0.1, 300)] = timedelta(seconds=10)
    """How long a proxy that doesn't answer holds up its own next step."""

    catalog_poll: Annotated[timedelta, Range(0.05, 60)] = timedelta(seconds=1)
    """How soon a change by another replica is seen when its hint was lost."""

    preflight: bool = True
    """A private Envoy of the node cluster `preflight`, where one is connected, takes each change
    before the fleet does."""

    preflight_timeout: Annotated[timedelta, Range(0.1, 60)] = timedelta(seconds=3)
    """How long a silent preflight holds a change up."""

    discovery_empty_grace: Annotated[timedelta, Range(0, 3600)] = timedelta(seconds=30)
    """How long a service keeps its endpoints when their source says that there are none."""

    discovery_flap_hold_max: Annotated[timedelta, Range(0, 600)] = timedelta(seconds=30)
    """Longest wait of an endpoint that comes and goes again and again, before it gets calls."""

    dns_servers: str = ""
    """DNS servers for discovery, `address` or `address:port`, with commas. Empty: the machine's."""

    dns_timeout: Annotated[timedelta, Range(0.1, 30)] = timedelta(seconds=2)
    """How long one DNS server has to answer."""

    kubernetes_api: str = ""
    """URL of the Kubernetes API server. Empty: that of the cluster the gateway runs in."""

    kubernetes_token_file: str = ""
    """File of the token shown to it, read for each request. Empty: the service account's."""

    kubernetes_ca_file: str = ""
    """File of the roots that vouch for it, PEM. Empty: the service account's."""

    registry_orphan_grace: Annotated[timedelta, Range(0.1, 60)] = timedelta(seconds=1)
    """How long a registration outlives the stream that kept it."""

    registry_outage_grace: Annotated[timedelta, Range(1, 600)] = timedelta(seconds=15)
    """How long no lease runs out after a start of the gateway or an outage of its database."""

    postgres_connections: Annotated[int, Range(2, 100)] = 8
    """Most connections to PostgreSQL."""

    message_bytes_max: Annotated[int, Range(4 * 1024 * 1024, 64 * 1024 * 1024)] = 16 * 1024 * 1024
    """Largest gRPC message: the transcoder's descriptors are one resource."""

    def __post_init__(self) -> None:
        if not self.postgres_dsn:
            raise ValueError("GATEWAY_POSTGRES_DSN: must be set")
        if self.limits_fallback not in ("share", "deny", "allow"):
            raise ValueError("GATEWAY_LIMITS_FALLBACK: must be share, deny or allow")
        self.edge_options()
        self.networks()

    def edge_options(self) -> EdgeOptions:
        """
        Return what the compiler is told.

        Raises:
            ValueError: `edge_listen` is no address.

        """
        host, _, port = self.edge_listen.rpartition(":")
        try:
            address = str(ipaddress.ip_address(host.strip("[]")))
            number = int(port)
        except ValueError:
            address, number = "", 0
        if not address or not 1 <= number <= 65_535:
            raise ValueError(
                f"GATEWAY_EDGE_LISTEN: must be an IP address and a port, not {self.edge_listen!r}"
            )
        return EdgeOptions(
            address=address,
            port=number,
            cors_origins=tuple(
                origin.strip() for origin in self.edge_cors_origins.split(",") if origin.strip()
            ),
            trace_sampling=self.edge_trace_sampling,
            edge_count=self.edge_count,
            limits_fallback=self.limits_fallback,
            strict_timeout=self.strict_limit_timeout,
            streams_per_connection_max=self.edge_streams_per_connection_max,
            idle_connection_timeout=self.edge_idle_connection_timeout,
            connections_per_second_max=self.edge_connections_per_second_max,
            client_roots_pem=self._client_roots(),
            compression=self.edge_compression,
            http3=self.edge_http3,
            http3_port=self.edge_http3_port,
        )

    def reached_at(self, port: int) -> str:
        """Return how other replicas reach this one, which listens on *port*."""
        return self.peer_address or f"{self.listen.rpartition(':')[0]}:{port}"

    def source_settings(self) -> SourceSettings:
        """Return what sources of endpoints are told."""
        servers = (one.strip() for one in self.dns_servers.split(","))
        return SourceSettings(
            dns_servers=tuple(one for one in servers if one),
            dns_timeout=self.dns_timeout,
            kubernetes_api=self.kubernetes_api,
            kubernetes_token_file=self.kubernetes_token_file,
            kubernetes_ca_file=self.kubernetes_ca_file,
        )

    def keeper_limits(self) -> KeeperLimits:
        """Return how what sources find is doubted."""
        return KeeperLimits(
            empty_grace=self.discovery_empty_grace.total_seconds(),
            flap_hold_max=self.discovery_flap_hold_max.total_seconds(),
        )

    def registry_limits(self) -> RegistryLimits:
        """Return how patient the registry is."""
        return RegistryLimits(
            orphan_grace=self.registry_orphan_grace, outage_grace=self.registry_outage_grace
        )

    def networks(self) -> tuple[Network, ...]:
        """
        Return `issuer_networks`.

        Raises:
            ValueError: One is no network.

        """
        words = [one.strip() for one in self.issuer_networks.split(",") if one.strip()]
        try:
            return tuple(ipaddress.ip_network(one) for one in words)
        except ValueError as error:
            raise ValueError(f"GATEWAY_ISSUER_NETWORKS: {error}") from error

    def _client_roots(self) -> str:
        if not self.edge_client_roots_file:
            return ""
        try:
            text = Path(self.edge_client_roots_file).read_text(encoding="ascii")
            x509.load_pem_x509_certificates(text.encode())
        except (OSError, ValueError) as error:
            raise ValueError(f"GATEWAY_EDGE_CLIENT_ROOTS_FILE: no certificates: {error}") from error
        return text

    def ads_limits(self) -> AdsLimits:
        """Return the bounds of the discovery streams."""
        return AdsLimits(
            streams_max=self.ads_streams_max,
            starting_max=self.ads_starting_max,
            barrier_timeout=self.ads_barrier_timeout,
        )
