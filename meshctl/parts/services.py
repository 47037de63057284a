"""Our own services: the gateway, and those behind the edge."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc

from aerofusion.gateway.v1 import service_pb2
from meshctl.admin import Admin, told
from meshctl.contracts import contract
from meshctl.parts.part import Part
from meshctl.processes import Command
from meshctl.site import Site


DESCRIPTIONS = {
    "gateway": ("gateway", "Services, routes and who is who."),
    "notifier": ("notify", "Notifications: tells people things in time."),
    "syncd": ("sync", "Spaces: keeps devices in step."),
    "telemetry": ("telemetry", "Metrics, logs and traces: shows what is going on."),
}
"""Area of each service's contract, and what it says of itself in the catalog."""


REFERENCE_FIELDS = ("description", "endpoints", "identity", "protocol")
"""What a start decides about the API reference; who may read it is the operator's to say."""


def postgres(site: Site, databases: Sequence[str]) -> Part:
    """The database of those services in *databases*."""

    async def prepare() -> Command:
        return await asyncio.to_thread(site.cluster.prepare)

    async def when_ready() -> None:
        await site.cluster.ensure_databases(*databases)

    return Part(
        name="postgres",
        prepare=prepare,
        wait_ready=lambda alive: site.cluster.wait_ready(alive, 60),
        when_ready=when_ready,
        stop_within_s=1.5,
    )


def gateway(site: Site) -> Part:
    """The control plane. It issues its own certificate, so it needs no token."""
    join, reference = site.state.port("join"), site.state.port("gateway-reference")

    async def prepare() -> Command:
        environment = site.environment(
            "gateway",
            postgres_dsn=site.cluster.dsn("gateway"),
            unix_socket=str(site.socket("gateway", "gateway")),
            listen=site.address("gateway"),
            join_listen=f"127.0.0.1:{join}",
            edge_listen=site.edge_address,
            reference_listen=f"127.0.0.1:{reference}",
        )
        del environment["GATEWAY_JOIN_FILE"]
        return site.python("gateway", "serve", environment=environment)

    return Part(
        name="gateway",
        prepare=prepare,
        needs=("postgres",),
        calls=("postgres", "nats", "telemetry"),
        when_ready=lambda: register(site),
        stop_within_s=1.2,
        ports={"grpc": site.state.port("gateway"), "join": join, "reference": reference},
    )


def service(
    site: Site,
    name: str,
    *,
    database: bool = True,
    calls: Sequence[str] = (),
    ports: Sequence[str] = (),
    **own: str,
) -> Part:
    """
    A service behind the edge.

    Args:
        calls: Parts it calls besides its database.
        ports: Fields of its settings that are addresses it listens on besides `listen`.
        own: Further fields of its settings.

    """
    numbers = {field.removesuffix("_listen"): site.state.port(f"{name}-{field}") for field in ports}
    listens = {field: f"127.0.0.1:{numbers[field.removesuffix('_listen')]}" for field in ports}
    dsn = {"postgres_dsn": site.cluster.dsn(name)} if database else {}
    stores = ("postgres",) if database else ()

    async def prepare() -> Command:
        await site.admit(name)
        environment = site.environment(name, listen=site.address(name), **dsn, **listens, **own)
        return site.python(name, "serve", environment=environment)

    return Part(
        name=name,
        prepare=prepare,
        # With a certificate of an earlier run it needs the gateway no more than any
        # other: all of them start at once.
        needs=(*stores, *needs_gateway(site, name)),
        calls=(*stores, *calls),
        stop_within_s=1.5,
        ports={"grpc": site.state.port(name), **numbers},
    )


def needs_gateway(site: Site, name: str) -> Sequence[str]:
    """What a first certificate takes."""
    return () if site.admitted(name) else ("gateway",)


async def register(site: Site) -> None:
    """
    Have the edge route to the services where they really are.

    Raises:
        MeshctlError: The gateway refused.

    """
    try:
        async with Admin(site.gateway_socket) as admin:
            for name in DESCRIPTIONS:
                await admin.ensure_service(entry(site, name))
            await admin.ensure_service(reference(site), REFERENCE_FIELDS)
    except grpc.RpcError as error:
        raise told(error) from None


def entry(site: Site, name: str) -> service_pb2.Service:
    """What the catalog is to say of the service *name*."""
    area, description = DESCRIPTIONS[name]
    offered = contract(area)
    return service_pb2.Service(
        name=f"services/{name}",
        description=description,
        grpc_services=offered.grpc_services,
        endpoints=[service_pb2.Endpoint(address="127.0.0.1", port=site.state.port(name))],
        identity=name,
        json_prefixes=[area],
        descriptor_set=offered.descriptor_set,
    )


def reference(site: Site) -> service_pb2.Service:
    """What the catalog is to say of the API reference, which the gateway serves to the edge."""
    port = site.state.port("gateway-reference")
    return service_pb2.Service(
        name="services/reference",
        description="What every service offers: a page, and OpenAPI documents.",
        endpoints=[service_pb2.Endpoint(address="127.0.0.1", port=port)],
        identity="gateway",
        protocol=service_pb2.PROTOCOL_HTTP1,
    )
