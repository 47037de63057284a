"""The composition root: the only module that builds and joins the parts."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gateway.access.parts import Access
from gateway.apis import APIS
from gateway.catalog import CatalogWriter
from gateway.changes.canaries import Canaries
from gateway.changes.evidence import TelemetryEvidence
from gateway.changes.preflight import Preflight
from gateway.changes.receipts import Receipts
from gateway.config import ConfigWriter
from gateway.control import Control
from gateway.described import Described
from gateway.identity.parts import Identity
from gateway.limits.parts import Limits
from gateway.load.reports import LoadReports
from gateway.policy import policy
from gateway.reference import parts as reference
from gateway.reflection.reflector import Reflector
from gateway.sources.finder import Finder
from gateway.sources.registry import CHANGED as REGISTRY_CHANGED
from gateway.sources.registry import Registry
from gateway.sources.source import Parts
from gateway.sources.store import FoundStore
from gateway.store import audit
from gateway.store.canaries import CanaryStore
from gateway.store.catalog import CatalogStore
from gateway.store.discovery import DiscoveryStore
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
            server = _server(settings, workload, identity)
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
            running = [tasks.create_task(run, name=name) for name, run in gateway.running()]
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


def _server(settings: Settings, workload: Workload, identity: Identity) -> GrpcServer:
    return GrpcServer(
        workload=workload,
        listen=settings.listen,
        policy={**policy(), **identity.policy},
        unix_socket=settings.unix_socket,
        limits=ServingLimits(message_bytes_max=settings.message_bytes_max),
    )


class Gateway:
    """The parts of one process, joined. What it serves, `gateway.apis` says."""

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
        self.writer = CatalogWriter(
            self.store,
            changed=self._changed,
            seal=identity.seal,
            described=Described(beside=self.control.inputs.merged),
        )
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
        self.finder = self._finding()
        self.access = self._verifying()
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
        for serve_api in APIS:
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

    def running(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """Yield what runs as long as the process does, with its name."""
        yield "identity", self.identity.run()
        yield "control", self.control.run()
        yield "keeper", self.keeper.run()
        yield "reflector", self.reflector.run()
        yield "limits", self.limits.run()
        yield "registry", self.registry.run()
        yield "discovery", self.finder.run()
        yield "access", self.access.run()
        yield "canaries", self.canaries.run()

    def _finding(self) -> Finder:
        finder = Finder(
            Parts(settings=self.settings.source_settings(), registry=self.registry),
            FoundStore(self.pool),
            self.settings.keeper_limits(),
            tell=self.control.set_found,
        )
        self.control.followers.append(finder.follow)
        return finder

    def _verifying(self) -> Access:
        return Access(
            pool=self.pool,
            folder=self.settings.identity_dir,
            audit=audit.record,
            control=self.control,
            bus=self.bus,
            poll=self.settings.catalog_poll,
            allowed=self.settings.networks(),
        )

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
