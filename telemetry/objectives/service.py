"""gRPC in, objectives out: `aerofusion.telemetry.v1.ObjectiveService`."""

# ruff: noqa: N802 - methods have the names of the contract

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aerofusion.telemetry.v1 import objective_pb2
from aerofusion.telemetry.v1 import objective_service_pb2 as pb
from aerofusion.telemetry.v1 import objective_service_pb2_grpc as stubs
from meshkit import authz, paging
from meshkit.errors import InvalidInput
from telemetry.alerts.room import TENANT
from telemetry.alerts.store.objectives import not_found
from telemetry.objectives.rules import group_ids
from telemetry.objectives.standing import standings
from telemetry.objectives.wire import (
    ID,
    objective_message,
    objective_of,
    read_id,
    status_message,
)
from telemetry.promql.labels import get, only
from telemetry.rules.states import Phase


if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshkit.serving import GrpcServer
    from telemetry.alerts.room import Room
    from telemetry.alerts.store.objectives import StoredObjective
    from telemetry.promql.labels import Labels
    from telemetry.query.queries import Queries

    Context = Any

SERVICE = "aerofusion.telemetry.v1.ObjectiveService"
POLICY: authz.Policy = {
    f"/{SERVICE}/{method}": authz.allow(services=("operator",), roles=("operator",))
    for method in (
        "CreateObjective",
        "GetObjective",
        "ListObjectives",
        "UpdateObjective",
        "DeleteObjective",
    )
}
"""Who may call what; telemetry's own table takes these rows in."""

_REQUEST_ID_CHARS_MAX = 128


def serve_objectives(server: GrpcServer, room: Room, queries: Queries) -> None:
    """Make *server* answer for objectives."""
    server.add(
        stubs.add_ObjectiveServiceServicer_to_server, ObjectiveService(room, queries), SERVICE
    )


class ObjectiveService(stubs.ObjectiveServiceServicer):
    """Objectives in the database, and what queries say of them."""

    def __init__(self, room: Room, queries: Queries) -> None:
        self._room = room
        self._queries = queries

    async def CreateObjective(
        self, request: pb.CreateObjectiveRequest, context: Context
    ) -> pb.CreateObjectiveResponse:
        store = await self._room.objective_store()
        if not ID.fullmatch(request.objective_id):
            raise _invalid("objective_id", "1 to 63 of a-z 0-9 -, the first a letter")
        if len(request.request_id) > _REQUEST_ID_CHARS_MAX or "\0" in request.request_id:
            raise _invalid("request_id", f"at most {_REQUEST_ID_CHARS_MAX} characters")
        stored, groups = await store.create(
            TENANT,
            objective_of(request.objective, request.objective_id),
            request_id=request.request_id,
            now=self._room.now,
        )
        for group in groups:
            self._room.put(group)
        return pb.CreateObjectiveResponse(objective=objective_message(stored))

    async def GetObjective(
        self, request: pb.GetObjectiveRequest, context: Context
    ) -> pb.GetObjectiveResponse:
        objective = read_id("name", request.name)
        stored = await (await self._room.objective_store()).get(TENANT, objective)
        (message,) = await self._messages([stored])
        return pb.GetObjectiveResponse(objective=message)

    async def ListObjectives(
        self, request: pb.ListObjectivesRequest, context: Context
    ) -> pb.ListObjectivesResponse:
        limit = paging.page_size(request.page_size)
        after = paging.read_token(request.page_token)
        store = await self._room.objective_store()
        found = await store.page(TENANT, after=after, limit=limit + 1)
        more = len(found) > limit
        return pb.ListObjectivesResponse(
            objectives=await self._messages(found[:limit]),
            next_page_token=paging.next_token(found[limit - 1].objective.id) if more else "",
        )

    async def UpdateObjective(
        self, request: pb.UpdateObjectiveRequest, context: Context
    ) -> pb.UpdateObjectiveResponse:
        given = request.objective
        objective = objective_of(given, read_id("objective.name", given.name))
        store = await self._room.objective_store()
        stored, groups = await store.update(
            TENANT,
            objective,
            etag=given.etag,
            missing_ok=request.allow_missing,
            now=self._room.now,
        )
        for group in groups:
            self._room.put(group)
        return pb.UpdateObjectiveResponse(objective=objective_message(stored))

    async def DeleteObjective(
        self, request: pb.DeleteObjectiveRequest, context: Context
    ) -> pb.DeleteObjectiveResponse:
        objective = read_id("name", request.name)
        store = await self._room.objective_store()
        groups = await store.delete(TENANT, objective, etag=request.etag)
        if not groups and not request.allow_missing:
            raise not_found(objective)
        for group in groups:
            self._room.remove(group)
        return pb.DeleteObjectiveResponse()

    async def _messages(self, stored: Sequence[StoredObjective]) -> list[objective_pb2.Objective]:
        objectives = [one.objective for one in stored]
        standing = await standings(self._queries, objectives, self._room.now_ms, tenant=TENANT)
        messages = []
        for one in stored:
            message = objective_message(one)
            for budget in standing[one.objective.id]:
                firing = self._firing(one.objective.id, budget.labels)
                message.statuses.append(status_message(one.objective, budget, firing))
            messages.append(message)
        return messages

    def _firing(self, objective: str, labels: Labels) -> list[str]:
        """Return the severities of an objective's alerts that fire for *labels*."""
        running = self._room.runner.groups.get((TENANT, group_ids(objective)[0]))
        if running is None:
            return []
        names = [name for name, _ in labels]
        return [
            get(alert.labels, "severity")
            for state in running.states.values()
            for alert in state.alerts.values()
            if alert.phase is Phase.FIRING and only(alert.labels, names) == labels
        ]


def _invalid(field: str, why: str) -> InvalidInput:
    return InvalidInput("INVALID_OBJECTIVE", f"{field}: {why}.", field_violations={field: why})
