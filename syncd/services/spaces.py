"""`SpaceService`: makes, changes and removes spaces."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aerofusion.sync.v1 import space_service_pb2 as contract
from aerofusion.sync.v1 import space_service_pb2_grpc
from meshkit import paging
from meshkit.authz import OPERATOR, Caller, current_caller
from meshkit.errors import InvalidInput, PermissionDenied
from meshkit.postgres import unavailable_on_lost_connection
from syncd import rules
from syncd.store.spaces import Request, SpaceStore, not_found
from syncd.wire import messages


if TYPE_CHECKING:
    import asyncpg
    from google.protobuf.message import Message

    from syncd.limits import Limits
    from syncd.model import Space

MASKABLE = ("display_name", "schema", "access")
REQUEST_ID_MAX = 64
SERVICE_NAME = "aerofusion.sync.v1.SpaceService"

Context = Any


class SpaceService(space_service_pb2_grpc.SpaceServiceServicer):
    """Spaces, for operators and services."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        store: SpaceStore,
        limits: Limits,
        changed: Callable[[int], None],
    ) -> None:
        self._pool = pool
        self._store = store
        self._limits = limits
        self._changed = changed

    async def CreateSpace(  # noqa: N802 - the contract's name
        self, request: contract.CreateSpaceRequest, context: Context
    ) -> contract.CreateSpaceResponse:
        tenant = rules.parse_tenant(request.parent)
        current_caller().check_tenant(tenant)
        rules.check_space_id(request.space_id)
        rules.check_display_name(request.space.display_name)
        schema = rules.check_schema(messages.schema_from(request.space.schema), self._limits)
        access = messages.access_from(request.space.access)
        rules.check_access(access, self._limits)

        async def create(connection: Any) -> bytes:
            space = await self._store.create(
                connection,
                tenant=tenant,
                space_id=request.space_id,
                display_name=request.space.display_name,
                schema=schema,
                access=access,
            )
            return _serialised(contract.CreateSpaceResponse(space=messages.space_to(space)))

        answer = await self._once(tenant, request, create)
        return contract.CreateSpaceResponse.FromString(answer)

    async def GetSpace(  # noqa: N802
        self, request: contract.GetSpaceRequest, context: Context
    ) -> contract.GetSpaceResponse:
        tenant, space_id = rules.parse_space(request.name, "name")
        space = await self._store.get(tenant, space_id)
        if not rules.may_read(current_caller(), space):
            raise not_found(tenant, space_id)
        return contract.GetSpaceResponse(space=messages.space_to(space))

    async def ListSpaces(  # noqa: N802
        self, request: contract.ListSpacesRequest, context: Context
    ) -> contract.ListSpacesResponse:
        caller = current_caller()
        tenant = rules.parse_tenant(request.parent)
        caller.check_tenant(tenant)
        size = paging.page_size(request.page_size, default=100, at_most=1000)
        after = paging.read_token(request.page_token, "spaces", tenant)
        found = await self._store.page(tenant, after, size)
        response = contract.ListSpacesResponse(
            spaces=[messages.space_to(each) for each in found if rules.may_read(caller, each)]
        )
        if len(found) == size:
            response.next_page_token = paging.next_token(found[-1].space_id, "spaces", tenant)
        return response

    async def UpdateSpace(  # noqa: N802
        self, request: contract.UpdateSpaceRequest, context: Context
    ) -> contract.UpdateSpaceResponse:
        caller = current_caller()
        tenant, space_id = rules.parse_space(request.space.name, "space.name")
        fields = _masked(request)
        rules.check_display_name(request.space.display_name)
        access = messages.access_from(request.space.access)
        rules.check_access(access, self._limits)

        async def update(connection: Any) -> bytes:
            old = await self._store.lock(connection, tenant, space_id, request.space.etag)
            _check_owner(caller, old)
            schema = old.schema
            if "schema" in fields:
                asked = messages.schema_from(request.space.schema)
                schema = rules.evolve_schema(schema, asked, self._limits)
            space = await self._store.update(
                connection,
                old.space_key,
                display_name=request.space.display_name
                if "display_name" in fields
                else old.display_name,
                schema=schema,
                access=access if "access" in fields else old.access,
            )
            return _serialised(contract.UpdateSpaceResponse(space=messages.space_to(space)))

        answer = await self._once(tenant, request, update)
        response = contract.UpdateSpaceResponse.FromString(answer)
        self._changed(response.space.space_key)
        return response

    async def DeleteSpace(  # noqa: N802
        self, request: contract.DeleteSpaceRequest, context: Context
    ) -> contract.DeleteSpaceResponse:
        caller = current_caller()
        tenant, space_id = rules.parse_space(request.name, "name")
        keys = []

        async def delete(connection: Any) -> bytes:
            space = await self._store.lock(connection, tenant, space_id, request.etag)
            _check_owner(caller, space)
            await self._store.delete(connection, space.space_key)
            keys.append(space.space_key)
            return b""

        await self._once(tenant, request, delete)
        for key in keys:
            self._changed(key)
        return contract.DeleteSpaceResponse()

    async def _once(
        self, tenant: str, request: Any, change: Callable[[Any], Awaitable[bytes]]
    ) -> bytes:
        """Make *change* in a transaction, or return what it answered the first time."""
        if len(request.request_id) > REQUEST_ID_MAX:
            raise InvalidInput(
                "REQUEST_ID_INVALID",
                "request_id: at most 64 characters.",
                field_violations={"request_id": "at most 64 characters"},
            )
        digest = hashlib.blake2b(
            type(request).__name__.encode() + _serialised(request), digest_size=16
        ).digest()
        # Ids of one caller mean nothing to another.
        scope = f"{tenant}/{current_caller().subject}"
        once = Request(tenant=scope, request_id=request.request_id, digest=digest)
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                answered = await self._store.answered(connection, once)
                if answered is not None:
                    return answered
                answer = await change(connection)
                await self._store.remember(connection, once, answer)
                return answer


def _masked(request: contract.UpdateSpaceRequest) -> list[str]:
    """Return which fields to change."""
    paths = list(request.update_mask.paths)
    for path in paths:
        if path not in MASKABLE:
            raise InvalidInput(
                "UPDATE_MASK_INVALID",
                "update_mask: display_name, schema and access can be changed.",
                field_violations={"update_mask": f"{path[:64]!r} can't be changed"},
            )
    return paths or [field.name for field, _ in request.space.ListFields()]


def _check_owner(caller: Caller, space: Space) -> None:
    """Refuse whoever may not change the space itself: operators may, and services that write it."""
    if not rules.may_read(caller, space):
        raise not_found(space.tenant, space.space_id)
    if OPERATOR not in caller.roles and not rules.may_write(caller, space):
        raise PermissionDenied(
            "ACCESS_DENIED",
            "Only operators and services that may write to a space may change it.",
            space=space.name,
        )


def _serialised(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def register(servicer: SpaceService, server: Any) -> None:
    space_service_pb2_grpc.add_SpaceServiceServicer_to_server(servicer, server)
