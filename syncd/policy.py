"""Who may call which method. What is allowed in which space, its access policy says."""

from __future__ import annotations

from meshkit.authz import Rule, allow


SERVICES = ("flightinfo", "notifier", "operator")
SPACES = "/aerofusion.sync.v1.SpaceService/"
SYNC = "/aerofusion.sync.v1.SyncService/"
MANAGING = ("CreateSpace", "UpdateSpace", "DeleteSpace")
READING = ("GetSpace", "ListSpaces")
SYNCING = ("Push", "Pull", "Session", "Listen", "GetRecord", "ListRecords", "ListConflicts")


def policy() -> dict[str, Rule]:
    """Return the rules by full method path."""
    managers = allow(services=SERVICES, roles=("service", "operator"))
    everyone = allow(services=SERVICES, roles=("passenger", "device", "service", "operator"))
    return {
        **{SPACES + method: managers for method in MANAGING},
        **{SPACES + method: everyone for method in READING},
        **{SYNC + method: everyone for method in SYNCING},
    }
