"""RuleService."""

# ruff: noqa: N802 - methods have the names of the contract

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aerofusion.telemetry.v1 import rule_service_pb2 as pb
from aerofusion.telemetry.v1 import rule_service_pb2_grpc as stubs
from meshkit import authz, paging
from meshkit.errors import FailedPrecondition, InvalidInput
from telemetry.alerts.room import TENANT
from telemetry.alerts.services import wire
from telemetry.alerts.store.rules import not_found
from telemetry.objectives.rules import GROUP_PREFIX
from telemetry.promql.printing import text
from telemetry.rules.evaluating import recovery_of
from telemetry.rules.files import as_yaml, raise_if_any, read_groups
from telemetry.rules.history import grid_of, replay
from telemetry.rules.model import GROUPS_MAX
from telemetry.rules.states import Timing


if TYPE_CHECKING:
    from telemetry.alerts.room import Room
    from telemetry.alerts.store.rules import Stored
    from telemetry.query.queries import Queries
    from telemetry.rules.model import Group, Rule

    Context = Any

SERVICE = "aerofusion.telemetry.v1.RuleService"
POLICY: authz.Policy = {
    f"/{SERVICE}/{method}": authz.allow(services=("operator",), roles=("operator",))
    for method in (
        "CreateRuleGroup",
        "GetRuleGroup",
        "ListRuleGroups",
        "UpdateRuleGroup",
        "DeleteRuleGroup",
        "ApplyRuleFile",
        "ExportRuleFile",
        "DryRunRule",
    )
}

_REQUEST_ID_CHARS_MAX = 128
_SOURCE_CHARS_MAX = 256
_MANAGED = "objectives/"
_DAY_MS = 86_400_000
_RANGE_MS_MAX = 400 * _DAY_MS


class RuleService(stubs.RuleServiceServicer):
    """Groups in the database, and what they would have done."""

    def __init__(self, room: Room, queries: Queries, *, step_ms: int) -> None:
        self._room = room
        self._queries = queries
        self._step_ms = step_ms

    async def CreateRuleGroup(
        self, request: pb.CreateRuleGroupRequest, context: Context
    ) -> pb.CreateRuleGroupResponse:
        store = await self._room.rules()
        if not wire.ID.fullmatch(request.rule_group_id):
            raise_if_any({"rule_group_id": "1 to 128 of A-Z a-z 0-9 . _ ~ -"})
        _check_own(request.rule_group_id)
        _check_length("request_id", request.request_id, _REQUEST_ID_CHARS_MAX)
        group = wire.group_of(request.rule_group, request.rule_group_id)
        stored = await store.create(
            TENANT,
            request.rule_group_id,
            group,
            source=_source(request.rule_group.source),
            request_id=request.request_id,
            now=self._room.now,
        )
        self._room.put(stored)
        return pb.CreateRuleGroupResponse(rule_group=self._message(stored))

    async def GetRuleGroup(
        self, request: pb.GetRuleGroupRequest, context: Context
    ) -> pb.GetRuleGroupResponse:
        group = wire.read_id("name", request.name, "ruleGroups")
        stored = await (await self._room.rules()).get(TENANT, group)
        return pb.GetRuleGroupResponse(rule_group=self._message(stored))

    async def ListRuleGroups(
        self, request: pb.ListRuleGroupsRequest, context: Context
    ) -> pb.ListRuleGroupsResponse:
        limit = paging.page_size(request.page_size)
        after = paging.read_token(request.page_token)
        found = await (await self._room.rules()).page(TENANT, after=after, limit=limit + 1)
        shown = [self._message(one) for one in found[:limit]]
        more = len(found) > limit
        return pb.ListRuleGroupsResponse(
            rule_groups=shown,
            next_page_token=paging.next_token(found[limit - 1].id) if more else "",
        )

    async def UpdateRuleGroup(
        self, request: pb.UpdateRuleGroupRequest, context: Context
    ) -> pb.UpdateRuleGroupResponse:
        given = request.rule_group
        group_id = wire.read_id("rule_group.name", given.name, "ruleGroups")
        _check_own(group_id)
        store = await self._room.rules()
        stored = await store.update(
            TENANT,
            group_id,
            wire.group_of(given, group_id),
            source=_source(given.source),
            etag=given.etag,
            missing_ok=request.allow_missing,
            now=self._room.now,
        )
        self._room.put(stored)
        return pb.UpdateRuleGroupResponse(rule_group=self._message(stored))

    async def DeleteRuleGroup(
        self, request: pb.DeleteRuleGroupRequest, context: Context
    ) -> pb.DeleteRuleGroupResponse:
        group = wire.read_id("name", request.name, "ruleGroups")
        _check_own(group)
        deleted = await (await self._room.rules()).delete(TENANT, group, etag=request.etag)
        if not deleted and not request.allow_missing:
            raise not_found(group)
        self._room.remove(group)
        return pb.DeleteRuleGroupResponse()

    async def ApplyRuleFile(
        self, request: pb.ApplyRuleFileRequest, context: Context
    ) -> pb.ApplyRuleFileResponse:
        store = await self._room.rules()
        groups: dict[str, Group] = {}
        for i, group in enumerate(read_groups(request.content)):
            group_id = wire.id_of_title(group.name)
            _check_own(group_id)
            if group_id in groups:
                raise_if_any({f"groups[{i}].name": f"another group is ruleGroups/{group_id} too"})
            groups[group_id] = group
        if len(groups) > GROUPS_MAX:
            raise_if_any({"groups": f"at most {GROUPS_MAX}"})
        done = await store.apply(
            TENANT,
            groups,
            source=_source(request.source),
            prune=request.prune,
            dry=request.validate_only,
            now=self._room.now,
        )
        if not request.validate_only:
            for stored in (*done.created, *done.updated):
                self._room.put(stored)
            for group_id in done.deleted:
                self._room.remove(group_id)
        return pb.ApplyRuleFileResponse(
            created=[f"ruleGroups/{one.id}" for one in done.created],
            updated=[f"ruleGroups/{one.id}" for one in done.updated],
            unchanged=[f"ruleGroups/{one}" for one in done.unchanged],
            deleted=[f"ruleGroups/{one}" for one in done.deleted],
            rules=sum(len(group.rules) for group in groups.values()),
        )

    async def ExportRuleFile(
        self, request: pb.ExportRuleFileRequest, context: Context
    ) -> pb.ExportRuleFileResponse:
        stored = {one.id: one for one in await (await self._room.rules()).all(TENANT)}
        wanted = [wire.read_id("names", name, "ruleGroups") for name in request.names]
        for name in wanted:
            if name not in stored:
                raise not_found(name)
        groups: dict[str, Group] = {}
        for one in [stored[name] for name in wanted or stored]:
            # A file has each name once.
            name = one.group.name
            if name in groups:
                name = f"{name} ({one.id})"
            groups[name] = replace(one.group, name=name)
        content = as_yaml(list(groups.values()), plain=request.plain)
        return pb.ExportRuleFileResponse(content=content)

    async def DryRunRule(
        self, request: pb.DryRunRuleRequest, context: Context
    ) -> pb.DryRunRuleResponse:
        rule = wire.rule_of(request.rule)
        if not rule.alert:
            raise_if_any({"rule.alert": "must be set: only what alerts can be tried"})
        started = time.monotonic()
        grid = self._grid(request)
        goes_on = recovery_of(rule)
        expr = rule.expr if goes_on is None else text(goes_on.node)
        answer = await self._queries.range(expr, grid)
        history = replay(
            answer,
            timing=Timing(
                hold_ms=rule.hold_ms, keep_firing_ms=rule.keep_firing_ms, no_data=rule.no_data
            ),
            alert=rule.alert,
            added=_plain(rule),
            grid=grid,
            begins=None if goes_on is None else goes_on.begins.holds,
        )
        return pb.DryRunRuleResponse(
            firings=history.firings,
            median_duration=wire.duration(history.median_ms),
            pendings=history.pendings,
            examples=[
                pb.DryRunRuleResponse.Firing(
                    labels=dict(one.labels),
                    active_time=wire.timestamp(one.active_ms),
                    fire_time=wire.timestamp(one.fired_ms),
                    resolve_time=wire.timestamp(one.resolved_ms),
                    value=one.value,
                )
                for one in history.episodes
            ],
            step=wire.duration(grid[2]),
            took=wire.duration((time.monotonic() - started) * 1000),
        )

    def _grid(self, request: pb.DryRunRuleRequest) -> tuple[int, int, int]:
        end_ms = self._room.now_ms
        if request.HasField("end_time"):
            end_ms = request.end_time.ToMilliseconds()
        start_ms = end_ms - _DAY_MS
        if request.HasField("start_time"):
            start_ms = request.start_time.ToMilliseconds()
        if not 0 <= end_ms - start_ms <= _RANGE_MS_MAX:
            raise_if_any({"start_time": "at most 400 days before end_time"})
        interval_ms = request.interval.ToMilliseconds() or self._step_ms
        if interval_ms < 1:
            raise_if_any({"interval": "must not be negative"})
        return grid_of(start_ms, end_ms, interval_ms, self._queries.limits.query.steps_max)

    def _message(self, stored: Stored) -> Any:
        return wire.group_message(stored, self._room.runner.groups.get((TENANT, stored.id)))


def _plain(rule: Rule) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in rule.labels if "{{" not in pair[1])


def _check_own(group_id: str) -> None:
    """Refuse to touch what is made of objectives: it would be overwritten by their next change."""
    if group_id.startswith(GROUP_PREFIX):
        raise FailedPrecondition(
            "RULE_GROUP_MANAGED",
            f"The rule group {group_id!r} is made of an objective; change that.",
            rule_group=group_id,
        )


def _source(text: str) -> str:
    _check_length("source", text, _SOURCE_CHARS_MAX)
    if text.startswith(_MANAGED):
        raise_if_any({"source": f"must not begin with {_MANAGED}"})
    return text


def _check_length(field: str, text: str, at_most: int) -> None:
    if len(text) > at_most or "\0" in text:
        why = f"at most {at_most} characters, none of them NUL"
        raise InvalidInput("INVALID_RULES", f"{field}: {why}.", field_violations={field: why})
