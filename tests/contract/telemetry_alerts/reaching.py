"""A telemetry that runs, with its database and its store, and how to reach it."""

import asyncio
import time

import grpc
import pytest

from aerofusion.telemetry.v1 import (
    alert_pb2,
    alert_service_pb2,
    alert_service_pb2_grpc,
    incident_service_pb2_grpc,
    objective_service_pb2_grpc,
    query_service_pb2,
    query_service_pb2_grpc,
    routing_service_pb2_grpc,
    rule_service_pb2,
    rule_service_pb2_grpc,
    status_service_pb2_grpc,
)
from meshkit.status import from_rpc_error
from telemetry.intake.service import METHODS
from telemetry.scan.shapes import Signal
from tests.contract.telemetry_intake import otlp_requests


FILE = """
groups:
  - name: queues and such
    rules:
      - alert: QueueLong
        expr: queue_length > 10
        labels: {severity: page}
        annotations: {summary: "{{ $labels.n }} has {{ $value }}"}
      - record: queue:length:max
        expr: max(queue_length)
"""


class Service:
    """A telemetry that runs, and how to reach it."""

    def __init__(self, channel):
        self.channel = channel
        self.rules = rule_service_pb2_grpc.RuleServiceStub(channel)
        self.alerts = alert_service_pb2_grpc.AlertServiceStub(channel)
        self.routing = routing_service_pb2_grpc.RoutingServiceStub(channel)
        self.incidents = incident_service_pb2_grpc.IncidentServiceStub(channel)
        self.objectives = objective_service_pb2_grpc.ObjectiveServiceStub(channel)
        self.statuses = status_service_pb2_grpc.StatusServiceStub(channel)
        self.queries = query_service_pb2_grpc.QueryServiceStub(channel)
        self._export = channel.unary_unary(METHODS[Signal.METRICS])

    async def send(self, name, *values, at_ns=None):
        request = otlp_requests.gauges(name, values, at_ns or time.time_ns())
        await self._export(request)

    async def send_past(self, name, points):
        """Acknowledge a gauge's values, each with its time, at once."""
        await self._export(otlp_requests.gauge_over_time(name, points))

    async def found(self, query):
        """Wait until *query* finds anything: what is from before a start must be loaded first."""
        request = query_service_pb2.QueryInstantRequest(query=query)

        async def look():
            return (await self.queries.QueryInstant(request)).series

        await eventually(look)

    async def apply(self, text=FILE, **options):
        return await self.rules.ApplyRuleFile(
            rule_service_pb2.ApplyRuleFileRequest(content=text, source="test.yaml", **options)
        )

    async def listed(self, *states, matchers=()):
        answer = await self.alerts.ListAlerts(
            alert_service_pb2.ListAlertsRequest(states=states, matchers=matchers)
        )
        return list(answer.alerts)

    async def until(self, wanted, matchers=()):
        """The first alert that is as wanted."""
        watch = self.alerts.WatchAlerts(alert_service_pb2.WatchAlertsRequest(matchers=matchers))
        async with asyncio.timeout(60):
            async for message in watch:
                for alert in message.alerts:
                    if wanted(alert):
                        watch.cancel()
                        return alert
        raise AssertionError("the stream has ended")


async def ready(service):
    """All groups, once the database's rules are evaluated."""
    return await service.rules.ListRuleGroups(rule_service_pb2.ListRuleGroupsRequest())


async def eventually(look, within_s=30):
    """What *look* returns, once that is anything."""
    async with asyncio.timeout(within_s):
        while True:
            if found := await look():
                return found
            await asyncio.sleep(0.1)  # polls


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


def is_firing(alert):
    return alert.state == alert_pb2.Alert.STATE_FIRING
