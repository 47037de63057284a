"""The catalog's gRPC service."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, TypeVar

from aerofusion.gateway.v1 import catalog_service_pb2 as rpc
from aerofusion.gateway.v1 import catalog_service_pb2_grpc, route_pb2, service_pb2
from gateway import validation
from gateway.catalog import CatalogWriter, RequestId
from gateway.services import convert
from meshkit import paging
from meshkit.authz import current_caller
from meshkit.errors import InvalidInput, NotFound


if TYPE_CHECKING:
    from google.protobuf.message import Message

    from gateway.model import Object
    from gateway.store.catalog import CatalogStore, Stored

    Context = Any
    AnyRequest = Any

PAGE_SIZE_MAX = 200
SERVICE = "aerofusion.gateway.v1.CatalogService"

M = TypeVar("M", service_pb2.Service, route_pb2.Route)

_OUTPUT_ONLY = frozenset({"name", "etag", "create_time", "update_time", "revision"})


class CatalogService(catalog_service_pb2_grpc.CatalogServiceServicer):
    """Services and routes, for operators and the supervisor."""

    def __init__(self, store: CatalogStore, writer: CatalogWriter) -> None:
        self._store = store
        self._writer = writer

    async def CreateService(  # noqa: N802
        self, request: rpc.CreateServiceRequest, context: Context
    ) -> rpc.CreateServiceResponse:
        name = validation.service_name(request.service_id)
        value = convert.service_in(name, request.service)
        stored = await self._writer.create(_actor(), request_id(request), value)
        return rpc.CreateServiceResponse(service=convert.service_out(stored))

    async def GetService(  # noqa: N802
        self, request: rpc.GetServiceRequest, context: Context
    ) -> rpc.GetServiceResponse:
        stored = await self._get("SERVICE", validation.checked_service_name(request.name))
        return rpc.GetServiceResponse(service=convert.service_out(stored))

    async def ListServices(  # noqa: N802
        self, request: rpc.ListServicesRequest, context: Context
    ) -> rpc.ListServicesResponse:
        page, token = await self._page(request, "service", "services/")
        return rpc.ListServicesResponse(
            services=[convert.service_out(stored) for stored in page], next_page_token=token
        )

    async def UpdateService(  # noqa: N802
        self, request: rpc.UpdateServiceRequest, context: Context
    ) -> rpc.UpdateServiceResponse:
        name = validation.checked_service_name(request.service.name)

        def edit(before: Stored | None) -> Object:
            current = convert.service_out(before) if before else None
            return convert.service_in(name, _masked(request, request.service, current))

        stored = await self._update(request, name, edit, request.service.etag)
        return rpc.UpdateServiceResponse(service=convert.service_out(stored))

    async def DeleteService(  # noqa: N802
        self, request: rpc.DeleteServiceRequest, context: Context
    ) -> rpc.DeleteServiceResponse:
        revision = await self._writer.delete(
            _actor(),
            request_id(request),
            validation.checked_service_name(request.name),
            etag=request.etag,
            force=request.force,
        )
        return rpc.DeleteServiceResponse(revision=revision)

    async def CreateRoute(  # noqa: N802
        self, request: rpc.CreateRouteRequest, context: Context
    ) -> rpc.CreateRouteResponse:
        parent = validation.checked_service_name(request.parent)
        name = validation.checked_route_name(f"{parent}/routes/{request.route_id}")
        value = convert.route_in(name, request.route)
        stored = await self._writer.create(_actor(), request_id(request), value)
        return rpc.CreateRouteResponse(route=convert.route_out(stored))

    async def GetRoute(  # noqa: N802
        self, request: rpc.GetRouteRequest, context: Context
    ) -> rpc.GetRouteResponse:
        stored = await self._get("ROUTE", validation.checked_route_name(request.name))
        return rpc.GetRouteResponse(route=convert.route_out(stored))

    async def ListRoutes(  # noqa: N802
        self, request: rpc.ListRoutesRequest, context: Context
    ) -> rpc.ListRoutesResponse:
        prefix = "services/"
        if request.parent != "services/-":
            prefix = f"{validation.checked_service_name(request.parent)}/routes/"
        page, token = await self._page(request, "route", prefix, request.parent)
        return rpc.ListRoutesResponse(
            routes=[convert.route_out(stored) for stored in page], next_page_token=token
        )

    async def UpdateRoute(  # noqa: N802
        self, request: rpc.UpdateRouteRequest, context: Context
    ) -> rpc.UpdateRouteResponse:
        name = validation.checked_route_name(request.route.name)

        def edit(before: Stored | None) -> Object:
            current = convert.route_out(before) if before else None
            return convert.route_in(name, _masked(request, request.route, current))

        stored = await self._update(request, name, edit, request.route.etag)
        return rpc.UpdateRouteResponse(route=convert.route_out(stored))

    async def DeleteRoute(  # noqa: N802
        self, request: rpc.DeleteRouteRequest, context: Context
    ) -> rpc.DeleteRouteResponse:
        revision = await self._writer.delete(
            _actor(),
            request_id(request),
            validation.checked_route_name(request.name),
            etag=request.etag,
        )
        return rpc.DeleteRouteResponse(revision=revision)

    async def ListRevisions(  # noqa: N802
        self, request: rpc.ListRevisionsRequest, context: Context
    ) -> rpc.ListRevisionsResponse:
        size = paging.page_size(request.page_size, at_most=PAGE_SIZE_MAX)
        after = paging.read_token(request.page_token, "revisions", request.object)
        before = int(after) if after else None
        found = await self._store.history(request.object, before, size + 1)
        token = ""
        if len(found) > size:
            token = paging.next_token(str(found[size - 1].revision), "revisions", request.object)
        return rpc.ListRevisionsResponse(
            revisions=[convert.revision_out(revision) for revision in found[:size]],
            next_page_token=token,
        )

    async def _get(self, kind: str, name: str) -> Stored:
        stored = await self._store.get(name)
        if stored is None:
            raise NotFound(f"{kind}_NOT_FOUND", f"There is no {name}.", name=name)
        return stored

    async def _page(
        self, request: AnyRequest, kind: str, prefix: str, *question: str
    ) -> tuple[list[Stored], str]:
        size = paging.page_size(request.page_size, at_most=PAGE_SIZE_MAX)
        after = paging.read_token(request.page_token, kind, *question)
        found = await self._store.page(kind, prefix, after, size + 1)
        if len(found) <= size:
            return found, ""
        return found[:size], paging.next_token(found[size - 1].value.name, kind, *question)

    async def _update(self, request: AnyRequest, name: str, edit: Any, etag: str) -> Stored:
        return await self._writer.update(
            _actor(),
            request_id(request),
            name,
            edit,
            etag=etag,
            allow_missing=request.allow_missing,
        )


def _actor() -> str:
    return current_caller().subject


def request_id(request: Message) -> RequestId:
    """Return the request's name and the hash of all the rest of it."""
    rest = type(request)()
    rest.CopyFrom(request)
    rest.ClearField("request_id")
    text = f"{request.DESCRIPTOR.full_name}\n".encode() + rest.SerializeToString(deterministic=True)
    name: str = validation.checked_request_id(request.request_id)  # type: ignore[attr-defined]
    return RequestId(id=name, digest=hashlib.sha256(text).digest())


def _masked(request: AnyRequest, given: M, current: M | None) -> M:
    """
    Return *current* with the fields of the request's mask taken from *given*.

    Raises:
        InvalidInput: INVALID_UPDATE_MASK.

    """
    if current is None or not request.HasField("update_mask"):
        return given
    for path in request.update_mask.paths:
        if path not in given.DESCRIPTOR.fields_by_name or path in _OUTPUT_ONLY:
            raise InvalidInput(
                "INVALID_UPDATE_MASK",
                f"{path!r} is not the name of a field that can be written.",
                field_violations={"update_mask": f"{path!r} can't be written"},
            )
    merged: Any = type(given)()
    merged.CopyFrom(current)
    for path in request.update_mask.paths:
        merged.ClearField(path)
        part: Any = type(given)()
        part.CopyFrom(given)
        for field in given.DESCRIPTOR.fields:
            if field.name != path:
                part.ClearField(field.name)
        merged.MergeFrom(part)
    result: M = merged
    return result
