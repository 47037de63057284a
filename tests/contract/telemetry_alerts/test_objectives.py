"""Objectives over gRPC: kept, made into rules, and read off what these record."""

import time

import pytest
from google.protobuf.duration_pb2 import Duration

from aerofusion.telemetry.v1 import (
    objective_pb2,
    objective_service_pb2,
    rule_service_pb2,
)
from meshkit.errors import AlreadyExists, Conflict, FailedPrecondition, NotFound
from tests.contract.telemetry_alerts.reaching import eventually, is_firing, ready, refused


pytestmark = pytest.mark.timeout(600)  # The first start on a machine compiles.

DAY = Duration(seconds=86_400)


def wanted(**more):
    events = objective_pb2.EventsIndicator(
        total="asked_total", bad="failed_total", group_by=["job"]
    )
    return objective_pb2.Objective(**{"target": 0.99, "window": DAY, "events": events, **more})


async def create(service, objective=None, name="answers", **more):
    request = objective_service_pb2.CreateObjectiveRequest(
        objective_id=name, objective=objective or wanted(), **more
    )
    return (await service.objectives.CreateObjective(request)).objective


async def get(service, name="objectives/answers"):
    request = objective_service_pb2.GetObjectiveRequest(name=name)
    return (await service.objectives.GetObjective(request)).objective


async def counted(service, *, failing):
    """A minute of counters, a part of which fails."""
    now = time.time_ns()
    for step in range(4):
        at_ns = now - (3 - step) * 15 * 10**9
        await service.send("asked_total", 1000.0 * step, at_ns=at_ns)
        if failing:
            await service.send("failed_total", 1000.0 * step * failing, at_ns=at_ns)


async def test_a_budget_that_burns_fast_is_paged_of_and_can_be_read(running, dsn):
    async with running(dsn) as service:
        await ready(service)
        made = await create(service, wanted(labels={"team": "edge"}))
        assert list(made.rule_groups) == [
            "ruleGroups/objectives.answers",
            "ruleGroups/objectives.answers.budget",
        ]
        await counted(service, failing=0.5)
        alert = await service.until(is_firing, ['severity="page"'])
        assert dict(alert.labels) == {
            "alertname": "ErrorBudgetBurnsFast",
            "job": "test",
            "objective": "answers",
            "severity": "page",
            "team": "edge",
        }
        # Half of the events fail where one in a hundred may.
        assert alert.value == pytest.approx(50, rel=0.01)

        async def standing():
            return (await get(service)).statuses

        (status,) = await eventually(standing)
        assert dict(status.labels) == {"job": "test"}
        assert status.error_share == pytest.approx(0.5, rel=0.01)
        assert status.budget_remaining == pytest.approx(-49, rel=0.01)
        assert status.firing_severity == "page"
        assert not status.HasField("exhaust_time")
        windows = [rate.window.seconds for rate in status.burn_rates]
        assert windows == sorted(windows)
        assert windows[-1] == 86_400
        listing = objective_service_pb2.ListObjectivesRequest()
        (again,) = (await service.objectives.ListObjectives(listing)).objectives
        assert again.statuses[0].firing_severity == "page"


async def test_without_a_failure_all_of_the_budget_is_left(running, dsn):
    async with running(dsn) as service:
        await ready(service)
        await create(service)
        await counted(service, failing=0)

        async def standing():
            return (await get(service)).statuses

        (status,) = await eventually(standing)
        assert (status.error_share, status.budget_remaining) == (0, 1)
        assert not status.firing_severity
        assert await service.listed() == []


async def test_objectives_are_kept_changed_and_deleted_with_their_rules(running, dsn):
    async with running(dsn) as service:
        await ready(service)
        made = await create(service, request_id="r1")
        assert (await create(service, request_id="r1")).etag == made.etag
        assert isinstance(await refused(create(service)), AlreadyExists)
        reused = await refused(create(service, wanted(target=0.5), request_id="r1"))
        assert reused.reason == "REQUEST_ID_REUSED"

        changed = objective_pb2.Objective()
        changed.CopyFrom(made)
        changed.target = 0.5
        update = objective_service_pb2.UpdateObjectiveRequest(objective=changed)
        stored = (await service.objectives.UpdateObjective(update)).objective
        assert stored.target == 0.5
        assert isinstance(await refused(service.objectives.UpdateObjective(update)), Conflict)
        groups = (await ready(service)).rule_groups
        exprs = [rule.expr for group in groups for rule in group.rules]
        assert any(expr.endswith("/ 0.5") for expr in exprs)

        touch = rule_service_pb2.DeleteRuleGroupRequest(name="ruleGroups/objectives.answers")
        kept = await refused(service.rules.DeleteRuleGroup(touch))
        assert isinstance(kept, FailedPrecondition)
        assert kept.reason == "RULE_GROUP_MANAGED"

    async with running(dsn) as service:
        await ready(service)
        assert (await get(service)).etag == stored.etag
        delete = objective_service_pb2.DeleteObjectiveRequest(name=made.name, etag=made.etag)
        assert isinstance(await refused(service.objectives.DeleteObjective(delete)), Conflict)
        delete.etag = stored.etag
        await service.objectives.DeleteObjective(delete)
        assert isinstance(await refused(get(service)), NotFound)
        assert not (await ready(service)).rule_groups


SENSELESS = [
    ({"target": 1.0}, "objective.target"),
    ({"target": 0.0}, "objective.target"),
    ({"window": Duration(seconds=3_600)}, "objective.window"),
    ({"window": Duration(seconds=86_401)}, "objective.window"),
    ({"events": {"total": "a_total"}}, "objective.events.bad"),
    ({"events": {"total": "sum(a_total)", "bad": "b"}}, "objective.events.total"),
    ({"events": {"total": '{job="x"}', "bad": "b"}}, "objective.events.total"),
    (
        {"events": {"total": "a", "bad": "b", "group_by": ["objective"]}},
        "objective.events.group_by[0]",
    ),
    ({"labels": {"severity": "none"}}, "objective.labels.severity"),
    ({"page_policy": "ops"}, "objective.page_policy"),
]


async def test_an_objective_that_makes_no_sense_is_refused_by_its_field(running, dsn):
    async with running(dsn) as service:
        await ready(service)
        for change, field in SENSELESS:
            bad = await refused(create(service, wanted(**change)))
            assert (bad.reason, list(bad.field_violations)) == ("INVALID_OBJECTIVE", [field])
