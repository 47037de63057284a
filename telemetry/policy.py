"""Who may call which method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshkit.authz import allow
from telemetry.alerts.services.alerts import POLICY as ALERTS
from telemetry.alerts.services.incidents import POLICY as INCIDENTS
from telemetry.alerts.services.routing import POLICY as ROUTING
from telemetry.alerts.services.rules import POLICY as RULES
from telemetry.backup.service import POLICY as BACKUPS
from telemetry.dashboards.service import POLICY as DASHBOARDS
from telemetry.intake.service import METHODS
from telemetry.objectives.service import POLICY as OBJECTIVES
from telemetry.query.service import POLICY as QUERIES
from telemetry.scaler.service import POLICY as SCALER
from telemetry.signals import POLICY as SIGNALS
from telemetry.status.service import POLICY as STATUS
from telemetry.trends.service import POLICY as TRENDS


if TYPE_CHECKING:
    from meshkit.authz import Policy

SENDERS = frozenset(
    {
        "devices",
        "edge",
        "flightinfo",
        "gateway",
        "mailsink",
        "nats",
        "notifier",
        "operator",
        "relay",
        "syncd",
        "telemetry",
    }
)
"""Every process of the mesh may tell what it does; the edge itself, not its users."""

POLICY: Policy = {method: allow(services=SENDERS) for method in METHODS.values()}
POLICY |= QUERIES | RULES | ALERTS | ROUTING | TRENDS | SCALER | SIGNALS | DASHBOARDS
POLICY |= INCIDENTS | OBJECTIVES | STATUS | BACKUPS
