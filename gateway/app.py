"""The composition root: the only module that builds and joins the parts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from aerofusion.gateway.v1 import (
    catalog_service_pb2_grpc,
    change_service_pb2_grpc,
    config_service_pb2_grpc,
    config_status_service_pb2_grpc,
    explain_service_pb2_grpc,
    limit_service_pb2_grpc,
    policy_service_pb2_grpc,
    registry_service_pb2_grpc,
)
from gateway.access.parts import Access
from gateway.catalog import CatalogWriter
from gateway.changes.canaries import Canaries
from gateway.changes.evidence import TelemetryEvidence
from gateway.changes.preflight import Preflight
from gateway.changes.receipts import Receipts
from gateway.config import ConfigWriter
from gateway.control import Control
from gateway.identity.parts import Identity
from gateway.limits.parts import Limits
from gateway.load.reports import LoadReports
from gateway.policy import policy
from gateway.reference import parts as reference
from gateway.reflection.reflector import Reflector
from gateway.services import catalog as catalog_service
from gateway.services import changes, client_status, config, config_status, policies
from gateway.services import explain as explain_service
from gateway.services import limits as limit_service
from gateway.services import registry as registry_service
from gateway.sources.finder import Finder
from gateway.sources.registry import CHANGED as REGISTRY_CHANGED
from gateway.sources.registry import Registry
from gateway.sources.source import Parts
from gateway.sources.store import FoundStore
from gateway.store import audit
from gateway.store.canaries import CanaryStore
from gateway.store.catalog import CatalogStore
from gateway.store.discovery import DiscoveryStore
from gateway.store.history import History
from gateway.store.reflected import ReflectedStore
from gateway.store.registrations import RegistrationStore
from gateway.telemetry import Telemetry
from gateway.xds import names
from gateway.xds.ads import AggregatedDiscovery
from gateway.xds.feed import Feed, Flavour
from gateway.xds.keeper import Keeper
from meshkit.bus import open_bus
from meshkit.observability import observed
from meshkit.postgres import migrate, open_pool
from meshkit.serving import GrpcServer, ServingLimits


if TYPE_CHECKING:
    import asyncpg

    from gateway.settings import Settings
    from gateway.store.catalog import Revision
    from meshkit.bus import Bus
    from meshkit.identity import Workload

CHANGED = "gateway.catalog"
"""The bus's subject for "the catalog has changed"; the message is the newest revision, digits."""

KEPT = "gateway.xds"
"""The subject for "what clients refuse has changed"; the message says nothing."""


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
            gateway = Gateway(
                settings=settings,
                server=server,
                pool=pool,
                identity=identity,
                bus=bus,
                workload=workload,
            )
            await gateway.join(tasks)
            running = [
                tasks.create_task(identity.run(), name="identity"),
                tasks.create_task(gateway.control.run(), name="control"),
                tasks.create_task(gateway.keeper.run(), name="keeper"),
                tasks.create_task(gateway.reflector.run(), name="reflector"),
                tasks.create_task(gateway.limits.run(), name="limits"),
                tasks.create_task(gateway.registry.run(), name="registry"),
                tasks.create_task(gateway.finder.run(), name="discovery"),
                tasks.create_task(gateway.access.run(), name="access"),
                tasks.create_task(gateway.canaries.run(), name="canaries"),
            ]
            port = await server.start()
            gateway.limits.owner.address = settings.reached_at(port)
            if started is not None:
                started.set_result(port)
            await stop.wait()
            await server.drain(settings.shutdown_grace)
            await identity.stop()
            for task in running:
                task.cancel()
            await gateway.telemetry.close()


class Gateway:
    """The parts of one process, joined. To serve another API, add a function to `_SERVED`."""

    def __init__(
        self,
        *,
        settings: Settings,
        server: GrpcServer,
        pool: asyncpg.Pool[Any],
        identity: Identity,
        bus: Bus,
        workload: Workload,
    ) -> None:
        self.settings = settings
        self.server = server
        self.pool = pool
        self.identity = identity
        self.bus = bus
        self.store = CatalogStore(pool)
        self.keeper = Keeper(
            DiscoveryStore(pool), poll=settings.catalog_poll, wrote=lambda: bus.publish(KEPT, b"")
        )
        self.feed = Feed(self.keeper)
        self.receipts = Receipts()
        self.control = Control(
            self.store,
            self.feed,
            settings.edge_options(),
            receipts=self.receipts,
            poll=settings.catalog_poll,
            linger=settings.edge_linger,
            canaries=CanaryStore(pool),
        )
        self.control.set_input(unseal=identity.seal.opened)
        self.feed.deny(lambda peer: names.denied(self.control.catalog, peer))
        self.writer = CatalogWriter(self.store, changed=self._changed, seal=identity.seal)
        self.reflected = ReflectedStore(pool)
        self.reflector = self._reflecting()
        self.discovery = AggregatedDiscovery(
            self.feed,
            limits=settings.ads_limits(),
            stopping=server.stopping,
            receipts=self.receipts,
        )
        self.limits = self._limiting(workload)
        self.load_reports = LoadReports(self.receipts, stopping=server.stopping)
        self.registry = Registry(
            RegistrationStore(pool),
            settings.registry_limits(),
            hint=lambda: bus.publish(REGISTRY_CHANGED),
        )
        self.finder = Finder(
            Parts(settings=settings.source_settings(), registry=self.registry),
            FoundStore(pool),
            settings.keeper_limits(),
            tell=self.control.set_found,
        )
        self.control.followers.append(self.finder.follow)
        self.access = Access(
            pool=pool,
            folder=settings.identity_dir,
            audit=audit.record,
            control=self.control,
            bus=bus,
            poll=settings.catalog_poll,
            allowed=settings.networks(),
        )
        self.config = ConfigWriter(self.store, self.writer)
        self.telemetry = Telemetry(workload, settings.telemetry_address)
        self.canaries = self._watching()
        if settings.preflight:
            timeout = settings.preflight_timeout
            self.control.use(Preflight(self.feed, self.discovery, timeout=timeout))

    async def join(self, tasks: asyncio.TaskGroup) -> None:
        """Serve all APIs, and publish the catalog as it is."""
        self.discovery.register(self.server.server)
        self.limits.register(self.server)
        self.load_reports.register(self.server.server)
        for serve_api in _SERVED:
            serve_api(self)
        self.identity.add_to(self.server)
        self.identity.signing.watch(self.control.set_jwks)
        await self.access.start()
        await self.keeper.start(self.feed)  # What is known to be bad is served to nobody.
        await self.control.start(await self.reflected.load())
        await self.registry.start()
        await self.finder.start(self.control.catalog)
        await self.control.follow()  # Nobody gets a service without the endpoints found.
        await self.bus.subscribe(KEPT, self.keeper.hint)
        await self.bus.subscribe(CHANGED, self.control.hint)
        await self.bus.subscribe(REGISTRY_CHANGED, lambda _: self.registry.poke())
        own, stopping = self.identity.workload, self.server.stopping
        read = reference.serve(self.settings, own, self.control, stopping)
        tasks.create_task(read, name="reference")
        await self.limits.join()

    def _watching(self) -> Canaries:
        return Canaries(
            CanaryStore(self.pool),
            self.config,
            self.control,
            receipts=self.receipts,
            sessions=self.discovery.sessions,
            evidence=TelemetryEvidence(self.telemetry),
        )

    def _limiting(self, workload: Workload) -> Limits:
        return Limits(
            pool=self.pool,
            workload=workload,
            bus=self.bus,
            replica=self.settings.replica,
            catalog=lambda: self.control.catalog,
            streams_max=self.settings.ads_streams_max,
            stopping=self.server.stopping,
        )

    def _reflecting(self) -> Reflector:
        return Reflector(
            self.identity.workload, inputs=lambda: self.control.inputs, told=self._reflect
        )

    async def _reflect(self, service: str, descriptor_set: bytes) -> None:
        if self.control.set_reflected(service, descriptor_set):
            await self.reflected.put(service, descriptor_set)

    def edges(self) -> frozenset[str]:
        """Return the node ids of the edges connected here."""
        return frozenset(
            one.node_id for one in self.discovery.sessions if one.flavour is Flavour.EDGE
        )

    def _changed(self, made: Sequence[Revision]) -> None:
        self.control.take(made)
        self.bus.publish(CHANGED, str(made[-1].revision).encode())


def _serve_catalog(gateway: Gateway) -> None:
    gateway.server.add(
        catalog_service_pb2_grpc.add_CatalogServiceServicer_to_server,
        catalog_service.CatalogService(gateway.store, gateway.writer),
        catalog_service.SERVICE,
    )


def _serve_config(gateway: Gateway) -> None:
    gateway.server.add(
        config_service_pb2_grpc.add_ConfigServiceServicer_to_server,
        config.ConfigService(
            gateway.store,
            gateway.config,
            try_out=gateway.control.try_out,
            edges=gateway.edges,
        ),
        config.SERVICE,
    )


def _serve_changes(gateway: Gateway) -> None:
    gateway.server.add(
        change_service_pb2_grpc.add_ChangeServiceServicer_to_server,
        changes.ChangeService(
            gateway.store,
            gateway.receipts,
            gateway.feed,
            sessions=gateway.discovery.sessions,
            catalog=lambda: gateway.control.catalog,
            checked=lambda: gateway.control.revision,
        ),
        changes.SERVICE,
    )


def _serve_config_status(gateway: Gateway) -> None:
    gateway.server.add(
        config_status_service_pb2_grpc.add_ConfigStatusServiceServicer_to_server,
        config_status.ConfigStatusService(
            gateway.discovery.sessions, gateway.feed, revision=lambda: gateway.control.revision
        ),
        config_status.SERVICE,
    )


def _serve_client_status(gateway: Gateway) -> None:
    status = client_status.ClientStatusDiscovery(gateway.discovery.sessions, gateway.feed)
    status.register(gateway.server.server)


def _serve_explain(gateway: Gateway) -> None:
    gateway.server.add(
        explain_service_pb2_grpc.add_ExplainServiceServicer_to_server,
        explain_service.ExplainService(
            History(gateway.pool),
            gateway.settings.edge_options(),
            newest=lambda: gateway.feed.newest(Flavour.EDGE),
            inputs=lambda: gateway.control.inputs,
        ),
        explain_service.SERVICE,
    )


def _serve_limits(gateway: Gateway) -> None:
    gateway.server.add(
        limit_service_pb2_grpc.add_LimitServiceServicer_to_server,
        limit_service.LimitService(
            gateway.limits,
            inputs=lambda: gateway.control.inputs,
            feed=gateway.feed,
            stopping=gateway.server.stopping,
            telemetry=gateway.telemetry,
        ),
        limit_service.SERVICE,
    )


def _serve_policies(gateway: Gateway) -> None:
    gateway.server.add(
        policy_service_pb2_grpc.add_PolicyServiceServicer_to_server,
        policies.PolicyService(gateway.telemetry, catalog=lambda: gateway.control.catalog),
        policies.SERVICE,
    )


def _serve_registry(gateway: Gateway) -> None:
    gateway.server.add(
        registry_service_pb2_grpc.add_RegistryServiceServicer_to_server,
        registry_service.RegistryService(
            gateway.registry,
            catalog=lambda: gateway.control.catalog,
            stopping=gateway.server.stopping,
        ),
        registry_service.SERVICE,
    )


_SERVED: Final[tuple[Callable[[Gateway], None], ...]] = (
    _serve_catalog,
    _serve_config,
    _serve_changes,
    _serve_config_status,
    _serve_client_status,
    _serve_explain,
    _serve_limits,
    _serve_policies,
    _serve_registry,
    lambda gateway: gateway.access.add_to(gateway.server),
)
