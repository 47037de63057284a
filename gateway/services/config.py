"""The catalog as a whole: the gRPC service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from aerofusion.gateway.v1 import config_service_pb2 as rpc
from aerofusion.gateway.v1 import config_service_pb2_grpc, object_pb2
from gateway import kinds
from gateway.changes import blame
from gateway.compile.descriptors import InvalidDescriptors
from gateway.config import OBJECTS_MAX, Applied, ChangeSet, ConfigWriter
from gateway.fits import about
from gateway.model import Catalog, Object
from gateway.services import canaries, convert
from gateway.services.catalog import PAGE_SIZE_MAX, request_id
from meshkit import paging
from meshkit.authz import current_caller
from meshkit.errors import FailedPrecondition, InvalidInput, NotFound


if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.changes.receipts import Refused
    from gateway.diff import ObjectChange
    from gateway.store.catalog import CatalogStore

    Context = Any

TryOut = Callable[[dict[str, "Object | None"]], Awaitable["Sequence[Refused]"]]
"""Says what Envoy would refuse if these objects were so."""

SERVICE: Final = "aerofusion.gateway.v1.ConfigService"


class ConfigService(config_service_pb2_grpc.ConfigServiceServicer):
    """Objects of every kind, for operators."""

    def __init__(
        self,
        store: CatalogStore,
        writer: ConfigWriter,
        *,
        try_out: TryOut,
        edges: Callable[[], frozenset[str]],
    ) -> None:
        """*edges* returns the node ids of the edges connected here."""
        self._edges = edges
        self._store = store
        self._writer = writer
        self._try_out = try_out

    async def GetObject(  # noqa: N802
        self, request: rpc.GetObjectRequest, context: Context
    ) -> rpc.GetObjectResponse:
        kinds.kind_of(request.name)
        if request.revision:
            found = (await self._writer.as_of(request.revision)).get(request.name)
        else:
            found = await self._store.get(request.name)
        if found is None:
            raise NotFound("OBJECT_NOT_FOUND", f"There is no {request.name}.", name=request.name)
        return rpc.GetObjectResponse(object=convert.object_out(found))

    async def ListObjects(  # noqa: N802
        self, request: rpc.ListObjectsRequest, context: Context
    ) -> rpc.ListObjectsResponse:
        size = paging.page_size(request.page_size, at_most=PAGE_SIZE_MAX)
        after = paging.read_token(request.page_token, "objects", request.prefix)
        revision, found = await self._store.objects(request.prefix, after, size + 1)
        token = ""
        if len(found) > size:
            token = paging.next_token(found[size - 1].value.name, "objects", request.prefix)
        return rpc.ListObjectsResponse(
            objects=[convert.object_out(stored) for stored in found[:size]],
            next_page_token=token,
            revision=revision,
        )

    async def PlanChange(  # noqa: N802
        self, request: rpc.PlanChangeRequest, context: Context
    ) -> rpc.PlanChangeResponse:
        applied = await self._writer.plan(_actor(), _change_set(request.change_set))
        if request.preflight:
            await self._preflight(applied)
        return rpc.PlanChangeResponse(changes=_changes_out(applied.changes))

    async def _preflight(self, applied: Applied) -> None:
        values = {one.name: one.after.value if one.after else None for one in applied.changes}
        try:
            refusals = await self._try_out(values)
        except InvalidDescriptors as error:
            raise FailedPrecondition(
                "DESCRIPTOR_CONFLICT", f"The descriptor sets don't go together: {error}."
            ) from None
        if not refusals:
            return
        first = refusals[0]
        names = sorted(values)
        raise FailedPrecondition(
            "PREFLIGHT_FAILED",
            f"Envoy refuses it: {first.resource}: {first.error[:500]}",
            object=blame.object_of(first.type, first.resource, Catalog(), names),
            field=blame.field_of(first.error),
            type=first.type,
            resource=first.resource,
        )

    async def ApplyChange(  # noqa: N802
        self, request: rpc.ApplyChangeRequest, context: Context
    ) -> rpc.ApplyChangeResponse:
        wanted = _change_set(request.change_set)
        first = None
        if request.HasField("canary"):
            first = canaries.first_in(request.canary, request.change_set, self._edges())
        applied = await self._writer.apply(_actor(), request_id(request), wanted, first)
        return rpc.ApplyChangeResponse(
            change=change_name(applied),
            revision=applied.revision,
            changes=_changes_out(applied.changes),
        )

    async def RollBack(  # noqa: N802
        self, request: rpc.RollBackRequest, context: Context
    ) -> rpc.RollBackResponse:
        applied = await self._writer.roll_back(
            _actor(), request_id(request), request.revision, validate_only=request.validate_only
        )
        return rpc.RollBackResponse(
            change="" if request.validate_only else change_name(applied),
            revision=applied.revision,
            changes=_changes_out(applied.changes),
        )

    async def DiffRevisions(  # noqa: N802
        self, request: rpc.DiffRevisionsRequest, context: Context
    ) -> rpc.DiffRevisionsResponse:
        if request.from_revision < 0 or request.to_revision < 0:
            raise InvalidInput(
                "INVALID_CHANGE",
                "Revisions are numbered from 1; 0 is the empty catalog, or the newest.",
                field_violations={"from_revision": "must not be negative"},
            )
        changes = await self._writer.compare(request.from_revision, request.to_revision)
        to = request.to_revision or await self._store.revision()
        return rpc.DiffRevisionsResponse(changes=_changes_out(changes), to_revision=to)


def change_name(applied: Applied) -> str:
    """Return `changes/{revision}`; "" if nothing was changed."""
    made = applied.revision >= applied.first_revision or not applied.changes
    return f"changes/{applied.revision}" if made and applied.revision else ""


def _change_set(message: rpc.ChangeSet) -> ChangeSet:
    if len(message.objects) > OBJECTS_MAX:
        raise InvalidInput(
            "INVALID_CHANGE",
            f"A change has at most {OBJECTS_MAX} objects.",
            field_violations={"change_set.objects": f"more than {OBJECTS_MAX}"},
        )
    return ChangeSet(
        objects=tuple(map(_object_in, message.objects)),
        etags=tuple(_etag(one) for one in message.objects),
        deletes=tuple(message.deletes),
        prune=tuple(message.prune),
    )


def _object_in(message: object_pb2.Object) -> Object:
    with about(getattr(message, message.WhichOneof("kind") or "service").name):
        return convert.object_in(message)


def _etag(message: object_pb2.Object) -> str:
    content: Any = getattr(message, message.WhichOneof("kind") or "service")
    etag: str = content.etag
    return etag


def _changes_out(changes: Iterable[ObjectChange]) -> list[rpc.ObjectChange]:
    made = []
    for one in changes:
        message = rpc.ObjectChange(
            name=one.name, action=convert.ACTIONS[one.action], fields=one.fields()
        )
        for field, stored in (("before", one.before), ("after", one.after)):
            if stored is not None:
                part = getattr(message, field)
                part.CopyFrom(convert.object_out(stored))
                if part.WhichOneof("kind") == "service":
                    part.service.ClearField("descriptor_set")
        made.append(message)
    return made


def _actor() -> str:
    return current_caller().subject
