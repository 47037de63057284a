"""The composition root: the only module that builds and joins the parts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aerofusion.gateway.v1 import (
    catalog_service_pb2_grpc,
    change_service_pb2_grpc,
    config_service_pb2_grpc,
    config_status_service_pb2_grpc,
    explain_service_pb2_grpc,
)
from gateway.catalog import CatalogWriter
from gateway.changes.receipts import Receipts
from gateway.config import ConfigWriter
from gateway.control import Control
from gateway.identity.parts import Identity
from gateway.policy import policy
from gateway.services import catalog as catalog_service
from gateway.services import changes, config, config_status
from gateway.services import explain as explain_service
from gateway.store import audit
from gateway.store.catalog import CatalogStore
from gateway.store.history import History
from gateway.xds.ads import AggregatedDiscovery
from gateway.xds.feed import Feed, Flavour
from meshkit.bus import open_bus
from meshkit.observability import observed
from meshkit.postgres import migrate, open_pool
from meshkit.serving import GrpcServer, ServingLimits


if TYPE_CHECKING:
    import asyncpg

    from gateway.settings import Settings
    from meshkit.bus import Bus
    from meshkit.identity import Workload

CHANGED = "gateway.catalog"
"""The bus's subject for "the catalog has changed"; the message is empty."""


async def serve(
    settings: Settings,
    *,
    stop: asyncio.Event,
    started: asyncio.Future[int] | None = None,
    workload: Workload | None = None,
) -> None:
    """
    Run until *stop* is set, then drain and return.

    Args:
        started: Receives the bound port once calls are accepted.
        workload: Replaces the identity that the gateway issues itself; for tests.

    """
    async with (
        open_pool(
            settings.postgres_dsn,
            application_name=f"gateway/{settings.replica}",
            max_size=settings.postgres_connections,
        ) as pool,
        asyncio.TaskGroup() as tasks,
    ):
        await migrate(pool, "gateway.store.migrations")
        identity = Identity(
            pool=pool,
            folder=settings.identity_dir,
            replica=settings.replica,
            audit=audit.record,
            join_listen=settings.join_listen,
            join_address=settings.join_address,
        )
        workload = workload or identity.workload
        async with (
            observed("gateway", settings.replica, workload, settings.telemetry_address),
            open_bus(settings.nats_url, workload) as bus,
        ):
            server = GrpcServer(
                workload=workload,
                listen=settings.listen,
                policy={**policy(), **identity.policy},
                unix_socket=settings.unix_socket,
                limits=ServingLimits(message_bytes_max=settings.message_bytes_max),
            )
            await identity.start()
            control = await _join(settings, server, pool, identity, bus)
            running = [
                tasks.create_task(identity.run(), name="identity"),
                tasks.create_task(control.run(), name="control"),
            ]
            port = await server.start()
            if started is not None:
                started.set_result(port)
            await stop.wait()
            await server.drain(settings.shutdown_grace)
            await identity.stop()
            for task in running:
                task.cancel()


async def _join(
    settings: Settings, server: GrpcServer, pool: asyncpg.Pool[Any], identity: Identity, bus: Bus
) -> Control:
    """Build the catalog's way to the clients and serve all APIs; returns what follows it."""
    store = CatalogStore(pool)
    feed = Feed()
    receipts = Receipts()
    control = Control(
        store, feed, settings.edge_options(), receipts=receipts, poll=settings.catalog_poll
    )

    def changed() -> None:
        control.poke()
        bus.publish(CHANGED)

    discovery = AggregatedDiscovery(
        feed, limits=settings.ads_limits(), stopping=server.stopping, receipts=receipts
    )
    discovery.register(server.server)
    writer = CatalogWriter(store, changed=changed)
    server.add(
        catalog_service_pb2_grpc.add_CatalogServiceServicer_to_server,
        catalog_service.CatalogService(store, writer),
        catalog_service.SERVICE,
    )
    server.add(
        config_service_pb2_grpc.add_ConfigServiceServicer_to_server,
        config.ConfigService(store, ConfigWriter(store, writer)),
        config.SERVICE,
    )
    server.add(
        change_service_pb2_grpc.add_ChangeServiceServicer_to_server,
        changes.ChangeService(
            store,
            receipts,
            feed,
            sessions=discovery.sessions,
            catalog=lambda: control.catalog,
            checked=lambda: control.revision,
        ),
        changes.SERVICE,
    )
    server.add(
        config_status_service_pb2_grpc.add_ConfigStatusServiceServicer_to_server,
        config_status.ConfigStatusService(
            discovery.sessions, feed, revision=lambda: control.revision
        ),
        config_status.SERVICE,
    )
    server.add(
        explain_service_pb2_grpc.add_ExplainServiceServicer_to_server,
        explain_service.ExplainService(
            History(pool),
            settings.edge_options(),
            newest=lambda: feed.newest(Flavour.EDGE),
            inputs=lambda: control.inputs,
        ),
        explain_service.SERVICE,
    )
    identity.add_to(server)
    identity.signing.watch(control.set_jwks)
    await control.start()
    await bus.subscribe(CHANGED, lambda _: control.poke())
    return control
