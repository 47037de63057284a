"""A program the mesh routes to: where it is, how its endpoints are chosen and watched."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gateway.model.access import Access


class Health(enum.StrEnum):
    """Whether an endpoint gets calls."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"
    """No new calls; those under way may end."""


class Protocol(enum.StrEnum):
    """What a service speaks, always over TLS."""

    HTTP2 = "http2"
    HTTP1 = "http1"


class BalancingPolicy(enum.StrEnum):
    """A rule for choosing an endpoint."""

    LEAST_REQUEST = "least_request"
    ROUND_ROBIN = "round_robin"
    RING_HASH = "ring_hash"
    MAGLEV = "maglev"
    RANDOM = "random"


@dataclass(frozen=True, slots=True, kw_only=True)
class Locality:
    """A place, from the large to the small."""

    region: str = ""
    zone: str = ""
    sub_zone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One replica's address."""

    address: str
    """IP address."""

    port: int
    weight: int = 1
    health: Health = Health.HEALTHY
    locality: Locality = Locality()
    priority: int = 0
    """0 is used first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """A token bucket in each edge."""

    burst: int
    per_second: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """Bounds of what one edge may have under way towards a service."""

    requests_max: int = 4096
    pending_max: int = 1024
    connections_max: int = 64
    retry_budget_percent: int = 20
    """Retries under way as a share of the calls under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HashKey:
    """What consistent hashing hashes; neither: the caller's address."""

    header: str | None = None
    cookie: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBalancing:
    """How calls are divided among endpoints."""

    policy: BalancingPolicy = BalancingPolicy.LEAST_REQUEST
    hash_key: HashKey | None = None
    locality_weighted: bool = False
    weights_from_load: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """Active checks of each edge. Neither check given: gRPC health of the whole server."""

    interval: timedelta = timedelta(seconds=1)
    timeout: timedelta = timedelta(milliseconds=500)
    unhealthy_threshold: int = 2
    healthy_threshold: int = 1
    grpc_service: str | None = None
    http_path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierDetection:
    """When an endpoint is left out for what it answers."""

    consecutive_errors: int = 5
    interval: timedelta = timedelta(seconds=1)
    base_ejection_time: timedelta = timedelta(seconds=5)
    max_ejection_percent: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsDiscovery:
    """Endpoints from DNS; a name that begins with `_` means SRV records."""

    hostname: str
    port: int = 0
    refresh_interval: timedelta = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryDiscovery:
    """Endpoints that registered themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesDiscovery:
    """Endpoints from a Kubernetes service's EndpointSlices."""

    namespace: str
    service: str
    port_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """Where endpoints come from besides the catalog: at most one is set."""

    dns: DnsDiscovery | None = None
    registry: RegistryDiscovery | None = None
    kubernetes: KubernetesDiscovery | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """An API that is on its way out."""

    grpc_service: str
    deprecate_time: datetime | None = None
    sunset_time: datetime | None = None
    successor: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalTls:
    """How the certificate of a service outside the mesh is checked."""

    server_name: str
    ca_pem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A program the mesh routes to."""

    name: str
    """`services/{service}`."""

    description: str = ""
    grpc_services: tuple[str, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    identity: str
    """Service part of the SPIFFE id its replicas show."""

    json_prefixes: tuple[str, ...] = ()
    descriptor_set: bytes = field(default=b"", repr=False)
    """Serialised FileDescriptorSet; empty: none."""

    access: Access = Access()
    unary_timeout: timedelta = timedelta(seconds=30)
    stream_idle_timeout: timedelta = timedelta(seconds=900)
    rate_limit: RateLimit | None = None
    concurrency: Concurrency = Concurrency()
    load_balancing: LoadBalancing = LoadBalancing()
    health_check: HealthCheck | None = None
    outlier_detection: OutlierDetection | None = None
    discovery: Discovery = Discovery()
    lifecycles: tuple[Lifecycle, ...] = ()
    reflect: bool = False
    """Take the descriptors that the replicas reflect."""

    external_tls: ExternalTls | None = None
    """None: mutual TLS with `identity`."""

    protocol: Protocol = Protocol.HTTP2

    @property
    def id(self) -> str:
        return self.name.removeprefix("services/")
