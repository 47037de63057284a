"""Whose an inbox is."""

from __future__ import annotations

from meshkit.authz import current_caller
from meshkit.errors import PermissionDenied


PASSENGER = "passenger"
SEES_ALL = frozenset({"service", "operator"})


def check_owner(tenant: str, recipient: str) -> None:
    """
    Refuse a passenger who isn't *recipient*: `passengers/p1` is the recipient `p1`.

    Raises:
        PermissionDenied: TENANT_NOT_ALLOWED or NOT_YOUR_INBOX.

    """
    caller = current_caller()
    caller.check_tenant(tenant)
    if caller.roles & SEES_ALL:
        return
    if caller.subject != f"passengers/{recipient}":
        raise PermissionDenied(
            "NOT_YOUR_INBOX", "A passenger's token opens that passenger's own inbox alone."
        )
