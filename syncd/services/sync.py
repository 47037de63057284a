"""`SyncService`: pushes, pulls and sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc

from aerofusion.sync.v1 import frames_pb2 as frames
from aerofusion.sync.v1 import sync_service_pb2 as contract
from meshkit import paging
from meshkit.authz import current_caller
from meshkit.errors import InvalidInput, NotFound
from syncd import rules
from syncd.session import SessionStream, Surroundings
from syncd.store.spaces import not_found
from syncd.wire import deltas, downward, messages


if TYPE_CHECKING:
    from syncd.model import Record, Space
    from syncd.store.cells import CellStore
    from syncd.store.changes import ChangeReader

SERVICE_NAME = "aerofusion.sync.v1.SyncService"

Context = Any


class SyncService:
    """Keeps devices in step. The two streams write bytes that were encoded once for many."""

    def __init__(self, shared: Surroundings, cells: CellStore, changes: ChangeReader) -> None:
        self._shared = shared
        self._cells = cells
        self._changes = changes

    async def Push(  # noqa: N802 - the contract's names
        self, request: contract.PushRequest, context: Context
    ) -> contract.PushResponse:
        caller = current_caller()
        space = await self._readable(request.space, "space")
        rules.check_write(caller, space)
        rules.check_device_id(request.device_id)
        batch = messages.batch_from(request.device_id, request.batch)
        most = self._shared.limits.batch_mutations_max
        if len(batch.mutations) > most:
            raise InvalidInput(
                "BATCH_TOO_LARGE",
                "Push fewer mutations at once.",
                field_violations={"batch.mutations": f"at most {most}"},
            )
        if not batch.mutations and not batch.confirmed_through:
            raise InvalidInput(
                "MUTATIONS_MISSING",
                "Push at least one mutation.",
                field_violations={"batch.mutations": "empty"},
            )
        await self._shared.devices.claim(caller, request.device_id)
        results, head = await self._shared.writer.submit(space.space_key, batch)
        if request.session_id:
            self._shared.sessions.tell(
                request.session_id,
                tenant=caller.tenant,
                device=request.device_id,
                data=downward.ack(results, head),
            )
        return contract.PushResponse(ack=messages.ack_to(results, head))

    async def Pull(  # noqa: N802
        self, request: contract.PullRequest, context: Context
    ) -> contract.PullResponse:
        space = await self._readable(request.space, "space")
        most = self._shared.limits.page_cells_max
        size = paging.page_size(request.page_size, default=most, at_most=most)
        cursor = request.cursor
        same = cursor.space_key == space.space_key and cursor.seq <= space.head_seq
        after = cursor.seq if same else 0
        reset = after == 0 and (cursor.space_key, cursor.seq) != (0, 0)
        space, changes = await self._changes.after(space.space_key, after, cells_max=size)
        return contract.PullResponse(
            delta=deltas.delta(changes, reset=reset),
            schema=messages.schema_to(space.schema),
        )

    async def Session(  # noqa: N802
        self, requests: AsyncIterator[contract.SessionRequest], context: Context
    ) -> None:
        async def incoming() -> AsyncIterator[frames.ClientFrame]:
            async for request in requests:
                yield request.frame

        await SessionStream(self._shared, current_caller(), context.write).run(incoming())

    async def Listen(  # noqa: N802
        self, request: contract.ListenRequest, context: Context
    ) -> None:
        most = self._shared.limits.subscriptions_max
        if not 1 <= len(request.subscriptions) <= most:
            raise InvalidInput(
                "SUBSCRIPTIONS_INVALID",
                "Listen to at least one space, and not to too many.",
                field_violations={"subscriptions": f"1 to {most}"},
            )

        async def incoming() -> AsyncIterator[frames.ClientFrame]:
            yield frames.ClientFrame(hello=request.hello)
            for each in request.subscriptions:
                yield frames.ClientFrame(subscribe=each)

        await SessionStream(self._shared, current_caller(), context.write).run(incoming())

    async def GetRecord(  # noqa: N802
        self, request: contract.GetRecordRequest, context: Context
    ) -> contract.GetRecordResponse:
        tenant, space_id, record_id = rules.parse_record(request.name)
        space = await self._readable(f"tenants/{tenant}/spaces/{space_id}", "name")
        found = await self._cells.records(space.space_key, 0, 1, record_id)
        if not found:
            raise NotFound("RECORD_NOT_FOUND", "The space has no such record.", record=record_id)
        return contract.GetRecordResponse(record=_record(space, found[0]))

    async def ListRecords(  # noqa: N802
        self, request: contract.ListRecordsRequest, context: Context
    ) -> contract.ListRecordsResponse:
        space = await self._readable(request.parent, "parent")
        size = paging.page_size(request.page_size, default=100, at_most=1000)
        after = paging.read_token(request.page_token, "records", space.space_key)
        found = await self._cells.records(space.space_key, int(after or 0), size)
        response = contract.ListRecordsResponse(records=[_record(space, each) for each in found])
        if len(found) == size:
            last = str(found[-1].number)
            response.next_page_token = paging.next_token(last, "records", space.space_key)
        return response

    async def ListConflicts(  # noqa: N802
        self, request: contract.ListConflictsRequest, context: Context
    ) -> contract.ListConflictsResponse:
        space = await self._readable(request.parent, "parent")
        size = paging.page_size(request.page_size, default=100, at_most=1000)
        before = paging.read_token(request.page_token, "conflicts", space.space_key)
        found = await self._cells.losers(space.space_key, int(before) if before else None, size)
        names = {field.number: field.name for field in space.schema.fields}
        response = contract.ListConflictsResponse()
        for _, decided, loser in found:
            told = response.conflicts.add(
                record=loser.record,
                field=names.get(loser.field, ""),
                value=messages.value_to(loser.value),
                device_id=loser.device,
                hlc=loser.hlc,
                reason=contract.ConflictReason.ValueType(loser.reason),
                winner_seq=loser.winner_seq,
            )
            told.decide_time.FromDatetime(decided)
        if len(found) == size:
            last = str(found[-1][0])
            response.next_page_token = paging.next_token(last, "conflicts", space.space_key)
        return response

    async def _readable(self, name: str, field: str) -> Space:
        """Return the space if the caller may read it; otherwise it doesn't exist."""
        tenant, space_id = rules.parse_space(name, field)
        space = await self._shared.spaces.get(tenant, space_id)
        if not rules.may_read(current_caller(), space):
            raise not_found(tenant, space_id)
        return space


def _record(space: Space, record: Record) -> contract.Record:
    names = {field.number: field.name for field in space.schema.fields}
    return contract.Record(
        name=f"{space.name}/records/{record.record_id}",
        cells=[
            contract.Cell(
                field=names[number],
                value=messages.value_to(cell.value),
                seq=cell.write.seq,
                hlc=cell.write.hlc,
                device_id=cell.write.device,
            )
            for number, cell in sorted(record.cells.items())
        ],
        seq=max(cell.write.seq for cell in record.cells.values()),
    )


def register(servicer: SyncService, server: Any) -> None:
    """Add *servicer* to *server*; its two streams give bytes, not messages."""
    unary: dict[str, tuple[Any, Any]] = {
        "Push": (contract.PushRequest, contract.PushResponse),
        "Pull": (contract.PullRequest, contract.PullResponse),
        "GetRecord": (contract.GetRecordRequest, contract.GetRecordResponse),
        "ListRecords": (contract.ListRecordsRequest, contract.ListRecordsResponse),
        "ListConflicts": (contract.ListConflictsRequest, contract.ListConflictsResponse),
    }
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            getattr(servicer, name),
            request_deserializer=request.FromString,
            response_serializer=response.SerializeToString,
        )
        for name, (request, response) in unary.items()
    }
    handlers["Session"] = grpc.stream_stream_rpc_method_handler(
        servicer.Session, request_deserializer=contract.SessionRequest.FromString
    )
    handlers["Listen"] = grpc.unary_stream_rpc_method_handler(
        servicer.Listen, request_deserializer=contract.ListenRequest.FromString
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, handlers),))
