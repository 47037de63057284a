"""Telemetry's API as an operator of this machine calls it: over its Unix socket."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
import grpc.aio

from aerofusion.telemetry.v1 import (
    alert_service_pb2_grpc,
    backup_service_pb2_grpc,
    dashboard_service_pb2_grpc,
    forecast_service_pb2_grpc,
    incident_service_pb2_grpc,
    log_service_pb2_grpc,
    map_service_pb2_grpc,
    objective_service_pb2_grpc,
    query_service_pb2_grpc,
    routing_service_pb2_grpc,
    rule_service_pb2,
    rule_service_pb2_grpc,
    status_service_pb2_grpc,
    trace_service_pb2_grpc,
)


CALL_TIMEOUT_S = 30.0
_RULES = Path(__file__).parents[1] / "deploy" / "rules"
MESH_RULES = _RULES / "mesh.yaml"
"""What is watched of the mesh itself."""

MESH_OBJECTIVES = _RULES / "objectives.yaml"
"""What the mesh promises, until somebody decides otherwise."""


class Telemetry:
    """An open connection to telemetry, with a stub for each of its services."""

    def __init__(self, socket: Path) -> None:
        self._channel = grpc.aio.insecure_channel(
            f"unix:{socket}",
            options=[
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.max_receive_message_length", 16 * 1024 * 1024),
            ],
        )
        self.alerts = alert_service_pb2_grpc.AlertServiceStub(self._channel)
        self.backups = backup_service_pb2_grpc.BackupServiceStub(self._channel)
        self.dashboards = dashboard_service_pb2_grpc.DashboardServiceStub(self._channel)
        self.forecasts = forecast_service_pb2_grpc.ForecastServiceStub(self._channel)
        self.incidents = incident_service_pb2_grpc.IncidentServiceStub(self._channel)
        self.objectives = objective_service_pb2_grpc.ObjectiveServiceStub(self._channel)
        self.routing = routing_service_pb2_grpc.RoutingServiceStub(self._channel)
        self.rules = rule_service_pb2_grpc.RuleServiceStub(self._channel)
        self.queries = query_service_pb2_grpc.QueryServiceStub(self._channel)
        self.logs = log_service_pb2_grpc.LogServiceStub(self._channel)
        self.maps = map_service_pb2_grpc.MapServiceStub(self._channel)
        self.statuses = status_service_pb2_grpc.StatusServiceStub(self._channel)
        self.traces = trace_service_pb2_grpc.TraceServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        await self._channel.close()

    async def apply_rules(
        self, content: str, *, source: str, prune: bool, validate_only: bool = False
    ) -> rule_service_pb2.ApplyRuleFileResponse:
        """Make the rule groups what a file says. Raises grpc.RpcError."""
        request = rule_service_pb2.ApplyRuleFileRequest(
            content=content, source=source, prune=prune, validate_only=validate_only
        )
        answer: rule_service_pb2.ApplyRuleFileResponse = await self.rules.ApplyRuleFile(
            request, timeout=CALL_TIMEOUT_S
        )
        return answer
