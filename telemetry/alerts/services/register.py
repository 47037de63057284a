"""Joins the services to a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aerofusion.telemetry.v1 import (
    alert_service_pb2_grpc,
    incident_service_pb2_grpc,
    routing_service_pb2_grpc,
    rule_service_pb2_grpc,
)
from telemetry.alerts.services import alerts, incidents, routing, rules


if TYPE_CHECKING:
    from meshkit.serving import GrpcServer
    from telemetry.alerts.room import Room
    from telemetry.query.queries import Queries


def serve_alerts(server: GrpcServer, room: Room, queries: Queries, *, step_ms: int) -> None:
    """Make *server* answer for the rules and alerts of *room*."""
    server.add(
        rule_service_pb2_grpc.add_RuleServiceServicer_to_server,
        rules.RuleService(room, queries, step_ms=step_ms),
        rules.SERVICE,
    )
    server.add(
        alert_service_pb2_grpc.add_AlertServiceServicer_to_server,
        alerts.AlertService(room, stopping=server.stopping),
        alerts.SERVICE,
    )
    server.add(
        routing_service_pb2_grpc.add_RoutingServiceServicer_to_server,
        routing.RoutingService(room),
        routing.SERVICE,
    )
    server.add(
        incident_service_pb2_grpc.add_IncidentServiceServicer_to_server,
        incidents.IncidentService(room),
        incidents.SERVICE,
    )
