"""Rules and alerts over gRPC: the whole service, with its database and its store."""

import asyncio
import contextlib
import time

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from aerofusion.telemetry.v1 import (
    alert_pb2,
    alert_service_pb2,
    query_service_pb2,
    rule_group_pb2,
    rule_service_pb2,
)
from meshkit.errors import (
    AlreadyExists,
    Conflict,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from tests.contract.telemetry_alerts.reaching import eventually, is_firing, ready, refused


pytestmark = pytest.mark.timeout(600)  # The first start on a machine compiles.


Alert = alert_pb2.Alert


async def test_a_file_is_applied_an_alert_fires_is_taken_on_and_outlives_a_restart(running, dsn):
    async with running(dsn) as service:
        await ready(service)
        done = await service.apply(validate_only=True)
        assert list(done.created) == ["ruleGroups/queues-and-such"]
        assert not (await ready(service)).rule_groups
        done = await service.apply()
        assert (list(done.created), done.rules) == (["ruleGroups/queues-and-such"], 2)
        assert list((await service.apply()).unchanged) == ["ruleGroups/queues-and-such"]

        await service.send("queue.length", 5.0, 50.0)
        alert = await service.until(is_firing)
        assert dict(alert.labels) == {
            "alertname": "QueueLong",
            "job": "test",
            "n": "1",
            "severity": "page",
        }
        assert dict(alert.annotations) == {"summary": "1 has 50"}
        receipt = alert.receipt
        times = (receipt.event_time, receipt.ingest_time, receipt.evaluate_time)
        assert [one.ToNanoseconds() for one in times] == sorted(
            one.ToNanoseconds() for one in times
        )
        assert receipt.HasField("ingest_time")
        (group,) = (await ready(service)).rule_groups
        assert [rule.health for rule in group.rules] == [rule_group_pb2.Rule.HEALTH_OK] * 2
        assert group.rules[0].firing_alerts == 1

        await service.alerts.AcknowledgeAlerts(
            alert_service_pb2.AcknowledgeAlertsRequest(names=[alert.name], comment="on it")
        )
        recorded = await service.queries.QueryInstant(
            query_service_pb2.QueryInstantRequest(query="queue:length:max")
        )
        assert [list(one.values) for one in recorded.series] == [[50.0]]

    async with running(dsn) as service:
        await ready(service)
        again = await service.until(lambda one: one.name == alert.name)
        assert again.fire_time == alert.fire_time
        assert again.acknowledgement.comment == "on it"
        await service.send("queue.length", 5.0, 6.0)
        gone = await service.until(lambda one: one.state == Alert.STATE_RESOLVED)
        assert gone.name == alert.name
        assert await service.listed() == []
        (kept,) = await service.listed(Alert.STATE_RESOLVED)
        assert kept.name == alert.name


async def test_groups_are_created_read_changed_and_deleted_with_etags(running, dsn):
    async with running(dsn) as service:
        await ready(service)
        wanted = rule_group_pb2.RuleGroup(
            interval=Duration(seconds=15),
            rules=[rule_group_pb2.Rule(record="up:sum", expr="sum(up)")],
        )
        create = rule_service_pb2.CreateRuleGroupRequest(
            rule_group_id="one", rule_group=wanted, request_id="r1"
        )
        made = (await service.rules.CreateRuleGroup(create)).rule_group
        assert (await service.rules.CreateRuleGroup(create)).rule_group.etag == made.etag
        create.rule_group.rules[0].expr = "sum(down)"
        assert (await refused(service.rules.CreateRuleGroup(create))).reason == "REQUEST_ID_REUSED"
        create.request_id = ""
        assert isinstance(await refused(service.rules.CreateRuleGroup(create)), AlreadyExists)

        changed = rule_group_pb2.RuleGroup()
        changed.CopyFrom(made)
        changed.rules[0].expr = "count(up)"
        update = rule_service_pb2.UpdateRuleGroupRequest(rule_group=changed)
        stored = (await service.rules.UpdateRuleGroup(update)).rule_group
        assert stored.etag != made.etag
        assert isinstance(await refused(service.rules.UpdateRuleGroup(update)), Conflict)
        update.rule_group.rules[0].expr = "count("
        bad = await refused(service.rules.UpdateRuleGroup(update))
        assert isinstance(bad, InvalidInput)
        assert "rule_group.rules[0].expr" in bad.field_violations

        get = rule_service_pb2.GetRuleGroupRequest(name="ruleGroups/one")
        assert (await service.rules.GetRuleGroup(get)).rule_group.rules[0].expr == "count(up)"
        delete = rule_service_pb2.DeleteRuleGroupRequest(name="ruleGroups/one", etag=made.etag)
        assert isinstance(await refused(service.rules.DeleteRuleGroup(delete)), Conflict)
        delete.etag = stored.etag
        await service.rules.DeleteRuleGroup(delete)
        assert isinstance(await refused(service.rules.GetRuleGroup(get)), NotFound)


async def test_a_file_prunes_only_what_came_from_it(running, dsn):
    async with running(dsn) as service:
        await ready(service)
        other = rule_service_pb2.CreateRuleGroupRequest(rule_group_id="other")
        await service.rules.CreateRuleGroup(other)
        await service.apply()
        done = await service.apply("groups: []", prune=True)
        assert list(done.deleted) == ["ruleGroups/queues-and-such"]
        assert [one.name for one in (await ready(service)).rule_groups] == ["ruleGroups/other"]


async def test_silences_mark_what_they_hold_back_until_they_end(running, dsn):
    async with running(dsn) as service:
        await ready(service)
        await service.apply()
        await service.send("queue.length", 50.0)
        await service.until(is_firing)
        wanted = alert_pb2.Silence(
            matchers=['alertname="QueueLong"', 'severity=~"p.*"'],
            end_time=Timestamp(seconds=int(time.time()) + 3600),
            comment="works",
        )
        create = alert_service_pb2.CreateSilenceRequest(silence=wanted, request_id="s1")
        made = (await service.alerts.CreateSilence(create)).silence
        assert (await service.alerts.CreateSilence(create)).silence == made
        (alert,) = await service.listed()
        assert list(alert.silenced_by) == [made.name]
        assert made.creator.startswith("spiffe://")
        listed = await service.alerts.ListSilences(alert_service_pb2.ListSilencesRequest())
        assert list(listed.silences) == [made]

        wanted.CopyFrom(made)
        wanted.matchers[:] = ['severity="none"']
        update = alert_service_pb2.UpdateSilenceRequest(silence=wanted)
        stored = (await service.alerts.UpdateSilence(update)).silence
        assert isinstance(await refused(service.alerts.UpdateSilence(update)), Conflict)
        (alert,) = await service.listed()
        assert not alert.silenced_by
        expire = alert_service_pb2.ExpireSilenceRequest(name=stored.name)
        await service.alerts.ExpireSilence(expire)
        ended = (await service.alerts.ExpireSilence(expire)).silence
        assert ended.end_time.ToNanoseconds() <= time.time_ns()


SENSELESS = [
    ({"matchers": []}, "silence.matchers"),
    ({"matchers": ['a=~".*"']}, "silence.matchers"),
    ({"comment": ""}, "silence.comment"),
    ({"end_time": Timestamp(seconds=1)}, "silence.end_time"),
]


async def test_what_makes_no_sense_or_can_not_be_read_or_taken_on_is_refused(running, dsn):
    async with running(dsn) as service:
        await ready(service)
        end = Timestamp(seconds=int(time.time()) + 60)
        for change, field in SENSELESS:
            given = {"matchers": ['a="b"'], "comment": "c", "end_time": end} | change
            request = alert_service_pb2.CreateSilenceRequest(silence=alert_pb2.Silence(**given))
            bad = await refused(service.alerts.CreateSilence(request))
            assert (bad.reason, list(bad.field_violations)) == ("INVALID_SILENCE", [field])
        watch = service.alerts.ListAlerts(
            alert_service_pb2.ListAlertsRequest(matchers=['a="b",c="d"'])
        )
        assert (await refused(watch)).reason == "INVALID_MATCHER"
        take = service.alerts.AcknowledgeAlerts(
            alert_service_pb2.AcknowledgeAlertsRequest(names=["alerts/none"])
        )
        assert (await refused(take)).reason == "ALERT_NOT_FOUND"
        bad = await refused(service.apply("groups: [{name: a, rules: [{alert: A, expr: 'up ='}]}]"))
        assert list(bad.field_violations) == ["groups[0].rules[0].expr"]


async def test_a_dry_run_says_what_a_rule_would_have_done(running, dsn):
    async with running(dsn) as service:
        await ready(service)
        now = time.time_ns()
        values = [50.0 if 30 <= at < 60 or at >= 110 else 5.0 for at in range(120)]
        points = [(now - (120 - at) * 10**9, value) for at, value in enumerate(values)]
        await service.send_past("queue.length", points)
        await service.found("count_over_time(queue_length[5m]) == 120")
        rule = rule_group_pb2.Rule(
            alert="QueueLong", expr="queue_length > 10", hold=Duration(seconds=5)
        )
        answer = await service.rules.DryRunRule(
            rule_service_pb2.DryRunRuleRequest(
                rule=rule,
                interval=Duration(seconds=1),
                start_time=Timestamp(seconds=now // 1_000_000_000 - 200),
            )
        )
        assert answer.firings == 2
        first = answer.examples[0]
        assert 24 <= (first.resolve_time.seconds - first.fire_time.seconds) <= 26
        assert answer.step == Duration(seconds=1)
        assert not answer.examples[1].HasField("resolve_time")


async def test_without_a_database_there_are_no_rules_and_everything_else(running):
    async with running("") as service:
        await service.send("queue.length", 50.0)
        error = await refused(
            service.rules.ListRuleGroups(rule_service_pb2.ListRuleGroupsRequest())
        )
        assert isinstance(error, FailedPrecondition)
        assert error.reason == "RULES_OFF"


async def test_only_operators_may(running, dsn):
    async with running(dsn, caller="notifier") as service:
        error = await refused(service.alerts.ListAlerts(alert_service_pb2.ListAlertsRequest()))
        assert isinstance(error, PermissionDenied)


async def test_rules_go_on_while_the_database_is_away(running, own_postgres):
    dsn = await own_postgres.database("telemetry")
    async with running(dsn) as service:
        await ready(service)
        await service.apply()
        own_postgres.kill()
        await service.send("queue.length", 50.0)
        alert = await service.until(is_firing)
        error = await refused(service.apply("groups: []"))
        assert isinstance(error, Unavailable)
        own_postgres.start()
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await service.alerts.AcknowledgeAlerts(
                        alert_service_pb2.AcknowledgeAlertsRequest(names=[alert.name])
                    )
                    break
    async with running(dsn) as service:
        await ready(service)
        again = await service.until(lambda one: one.name == alert.name)
        assert again.HasField("acknowledgement")


RECOVERING = """
groups:
  - name: queues
    rules:
      - alert: QueueLong
        expr: queue_length > 10
        recovery: 5
"""


async def test_an_alert_goes_on_until_it_has_recovered(running, dsn):
    async with running(dsn) as service:
        await ready(service)
        await service.apply(RECOVERING)
        (group,) = (await ready(service)).rule_groups
        assert group.rules[0].recovery == 5
        await service.send("queue.length", 7.0, 50.0)
        alert = await service.until(is_firing)
        await service.send("queue.length", 7.0, 6.0)

        async def evaluated():
            return [one for one in await service.listed() if one.value == 6]

        (below,) = await eventually(evaluated)
        assert (below.name, below.state) == (alert.name, Alert.STATE_FIRING)
        await service.send("queue.length", 7.0, 5.0)
        gone = await service.until(lambda one: one.state == Alert.STATE_RESOLVED)
        assert gone.name == alert.name
        assert await service.listed() == []
        again = rule_service_pb2.DryRunRuleRequest(
            rule=group.rules[0], interval=Duration(nanos=100_000_000)
        )
        again.start_time.GetCurrentTime()
        again.start_time.seconds -= 20
        tried = await service.rules.DryRunRule(again)
        assert (tried.firings, tried.pendings) == (1, 0)
