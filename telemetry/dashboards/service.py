"""gRPC in, dashboards out: `aerofusion.telemetry.v1.DashboardService`."""

# ruff: noqa: N802 - methods have the names of the contract

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aerofusion.telemetry.v1 import dashboard_service_pb2 as pb
from aerofusion.telemetry.v1 import dashboard_service_pb2_grpc as pb_grpc
from meshkit import authz, paging
from meshkit.errors import InvalidInput
from telemetry.dashboards import wire
from telemetry.dashboards.grafana import translate
from telemetry.dashboards.hub import Key
from telemetry.dashboards.resolving import Times, resolve
from telemetry.dashboards.shipped import read_shipped
from telemetry.dashboards.store.dashboards import not_found
from telemetry.promql.parse import parse


if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc

    from meshkit.serving import GrpcServer
    from telemetry.dashboards.database import Database
    from telemetry.dashboards.hub import Hub
    from telemetry.dashboards.store.dashboards import Stored
    from telemetry.query.queries import Queries

    Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = "aerofusion.telemetry.v1.DashboardService"
POLICY: authz.Policy = {
    f"/{SERVICE}/{method}": authz.allow(services=("operator",), roles=("operator",))
    for method in (
        "CreateDashboard",
        "GetDashboard",
        "ListDashboards",
        "UpdateDashboard",
        "DeleteDashboard",
        "ListDashboardRevisions",
        "ImportGrafanaDashboard",
        "ResolveDashboard",
        "WatchRange",
    )
}
"""Who may call what; telemetry's own table takes these rows in."""

TENANT = ""
"""Dashboards are the platform's own."""

_CONTENT_BYTES_MAX = 2 * 1024 * 1024
_REQUEST_ID_MAX = 128
_QUERIES_MAX = 100
_STEP_MS, _STEP_MS_MIN, _RANGE_MS, _STEPS_MAX = 15_000, 1_000, 3_600_000, 2_000
_REVISION_MAX = (1 << 62) - 1


def serve_dashboards(server: GrpcServer, database: Database, queries: Queries, hub: Hub) -> None:
    """Make *server* answer about dashboards."""
    service = DashboardService(database, queries, hub)
    server.add(pb_grpc.add_DashboardServiceServicer_to_server, service, SERVICE)


class DashboardService(pb_grpc.DashboardServiceServicer):
    """Dashboards of the database, before those that come with telemetry."""

    def __init__(self, database: Database, queries: Queries, hub: Hub) -> None:
        self._database = database
        self._queries = queries
        self._hub = hub
        self._shipped = read_shipped()

    async def CreateDashboard(
        self, request: pb.CreateDashboardRequest, context: Context
    ) -> pb.CreateDashboardResponse:
        dashboard = wire.read_id("dashboard_id", f"dashboards/{request.dashboard_id}")
        if len(request.request_id) > _REQUEST_ID_MAX:
            raise _bad("request_id", f"at most {_REQUEST_ID_MAX} characters")
        stored = await (await self._database.store()).create(
            TENANT,
            dashboard,
            wire.spec_of(request.dashboard),
            request_id=request.request_id,
            author=_author(),
            now=_now(),
        )
        return pb.CreateDashboardResponse(dashboard=wire.message(stored))

    async def GetDashboard(
        self, request: pb.GetDashboardRequest, context: Context
    ) -> pb.GetDashboardResponse:
        dashboard = wire.read_id("name", request.name)
        if request.revision:
            stored = await (await self._database.store()).at(TENANT, dashboard, request.revision)
        else:
            stored = await self._get(dashboard)
        return pb.GetDashboardResponse(dashboard=wire.message(stored))

    async def ListDashboards(
        self, request: pb.ListDashboardsRequest, context: Context
    ) -> pb.ListDashboardsResponse:
        limit = paging.page_size(request.page_size)
        after = paging.read_token(request.page_token)
        found = dict(self._shipped)
        if self._database.configured:
            stored = await (await self._database.store()).all(TENANT)
            found |= {one.id: one for one in stored}
        names = [name for name in sorted(found) if name > after]
        page = names[:limit]
        return pb.ListDashboardsResponse(
            dashboards=[wire.message(found[name], whole=False) for name in page],
            next_page_token=paging.next_token(page[-1]) if len(names) > limit else "",
        )

    async def UpdateDashboard(
        self, request: pb.UpdateDashboardRequest, context: Context
    ) -> pb.UpdateDashboardResponse:
        dashboard = wire.read_id("dashboard.name", request.dashboard.name)
        shipped = self._shipped.get(dashboard)
        stored = await (await self._database.store()).update(
            TENANT,
            dashboard,
            wire.spec_of(request.dashboard),
            etag=request.dashboard.etag,
            base_etag=shipped.etag if shipped else "",
            missing_ok=request.allow_missing,
            author=_author(),
            now=_now(),
        )
        return pb.UpdateDashboardResponse(dashboard=wire.message(stored))

    async def DeleteDashboard(
        self, request: pb.DeleteDashboardRequest, context: Context
    ) -> pb.DeleteDashboardResponse:
        dashboard = wire.read_id("name", request.name)
        deleted = await (await self._database.store()).delete(
            TENANT, dashboard, etag=request.etag, author=_author(), now=_now()
        )
        if not deleted and not request.allow_missing:
            raise not_found(dashboard)
        return pb.DeleteDashboardResponse()

    async def ListDashboardRevisions(
        self, request: pb.ListDashboardRevisionsRequest, context: Context
    ) -> pb.ListDashboardRevisionsResponse:
        dashboard = wire.read_id("name", request.name)
        limit = paging.page_size(request.page_size)
        before = int(paging.read_token(request.page_token, dashboard) or _REVISION_MAX)
        store = await self._database.store()
        found = await store.revisions(TENANT, dashboard, before=before, limit=limit + 1)
        page = found[:limit]
        more = len(found) > limit
        return pb.ListDashboardRevisionsResponse(
            revisions=[wire.revision(one) for one in page],
            next_page_token=paging.next_token(str(page[-1].revision), dashboard) if more else "",
        )

    async def ImportGrafanaDashboard(
        self, request: pb.ImportGrafanaDashboardRequest, context: Context
    ) -> pb.ImportGrafanaDashboardResponse:
        if not 0 < len(request.content.encode()) <= _CONTENT_BYTES_MAX:
            raise _bad("content", "1 byte to 2 MiB")
        made = translate(request.content)
        given = wire.message_of_spec(made.spec)
        dashboard = request.dashboard_id or wire.id_of_title(given.title)
        given.name = f"dashboards/{wire.read_id('dashboard_id', f'dashboards/{dashboard}')}"
        spec = wire.spec_of(given)
        if not request.validate_only:
            store = await self._database.store()
            stored = await store.create(
                TENANT, dashboard, spec, request_id="", author=_author(), now=_now()
            )
            given = wire.message(stored)
        untranslated = [
            pb.Untranslated(where=where, what=what) for where, what in made.untranslated
        ]
        return pb.ImportGrafanaDashboardResponse(dashboard=given, untranslated=untranslated)

    async def ResolveDashboard(
        self, request: pb.ResolveDashboardRequest, context: Context
    ) -> pb.ResolveDashboardResponse:
        stored = await self._get(wire.read_id("name", request.name))
        given = wire.message(stored)
        range_ms = given.default_range.ToMilliseconds() or _RANGE_MS
        if request.HasField("range"):
            range_ms = request.range.ToMilliseconds()
        step_ms = request.step.ToMilliseconds() if request.HasField("step") else _STEP_MS
        if step_ms < _STEP_MS_MIN or range_ms < step_ms:
            raise _bad("step", "must be at least 1 s and no longer than the range")
        times = Times(step_ms=step_ms, range_ms=range_ms)
        tenant = _tenant(request.tenant)

        async def values(label: str, selector: str) -> list[str]:
            selectors = [selector] if selector else []
            return await self._queries.label_values(label, selectors, tenant=tenant)

        choices = await resolve(given, dict(request.chosen), times, values)
        return pb.ResolveDashboardResponse(dashboard=given, choices=choices)

    async def WatchRange(
        self, request: pb.WatchRangeRequest, context: Context
    ) -> AsyncIterator[pb.WatchRangeResponse]:
        if not 1 <= len(request.queries) <= _QUERIES_MAX:
            raise _bad("queries", f"1 to {_QUERIES_MAX}")
        for query in request.queries:
            parse(query, self._queries.limits.query)
        step_ms = request.step.ToMilliseconds() if request.HasField("step") else _STEP_MS
        range_ms = request.range.ToMilliseconds() if request.HasField("range") else _RANGE_MS
        if step_ms < _STEP_MS_MIN:
            raise _bad("step", "must be at least 1 s")
        if not step_ms <= range_ms <= step_ms * _STEPS_MAX:
            raise _bad("range", f"must be 1 to {_STEPS_MAX} steps")
        tenant = _tenant(request.tenant)
        keys = [Key(tenant, query, step_ms, range_ms) for query in request.queries]
        async with contextlib.aclosing(self._hub.follow(keys)) as following:
            async for updates in following:
                yield pb.WatchRangeResponse(updates=[wire.update(one) for one in updates])

    async def _get(self, dashboard: str) -> Stored:
        stored = None
        if self._database.configured:
            stored = await (await self._database.store()).get(TENANT, dashboard)
        stored = stored or self._shipped.get(dashboard)
        if stored is None:
            raise not_found(dashboard)
        return stored


def _author() -> str:
    return authz.current_caller().subject


def _tenant(asked: str) -> str:
    caller = authz.current_caller()
    tenant = asked or caller.tenant
    caller.check_tenant(tenant)
    return tenant


def _now() -> datetime:
    return datetime.now(UTC)


def _bad(name: str, why: str) -> InvalidInput:
    return InvalidInput(
        "INVALID_FIELD", f"{name}: {why}.", field_violations={name: why}, field=name
    )
