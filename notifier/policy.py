"""Who may call what. Whatever is not here is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshkit.authz import allow


if TYPE_CHECKING:
    from meshkit.authz import Policy, Rule

PREFIX = "/aerofusion.notify.v1."

PRODUCERS = allow(
    services=("flightinfo", "telemetry", "gateway", "syncd", "operator"),
    roles=("service", "operator"),
)
"""Internal services, straight or through the edge, and operators."""

OPERATORS = allow(services=("operator",), roles=("operator",))

OWNERS = allow(services=("flightinfo", "operator"), roles=("passenger", "service", "operator"))
"""Passengers too, each for what is theirs: the handlers see to that."""

_RULES: dict[str, Rule] = {
    "NotificationService/CreateNotification": PRODUCERS,
    "NotificationService/BatchCreateNotifications": PRODUCERS,
    "NotificationService/GetNotification": PRODUCERS,
    "NotificationService/ListNotifications": PRODUCERS,
    "NotificationService/CancelNotification": PRODUCERS,
    "NotificationService/ListDeliveries": PRODUCERS,
    "NotificationService/ListTimelineEvents": PRODUCERS,
    "NotificationService/ResolveDelivery": OPERATORS,
    "RecipientService/CreateRecipient": PRODUCERS,
    "RecipientService/GetRecipient": OWNERS,
    "RecipientService/ListRecipients": PRODUCERS,
    "RecipientService/UpdateRecipient": PRODUCERS,
    "RecipientService/BatchUpdateRecipients": PRODUCERS,
    "RecipientService/DeleteRecipient": PRODUCERS,
    "SubscriptionService/BatchCreateSubscriptions": PRODUCERS,
    "SubscriptionService/BatchDeleteSubscriptions": PRODUCERS,
    "SubscriptionService/ListSubscriptions": PRODUCERS,
    "TemplateService/CreateTemplate": PRODUCERS,
    "TemplateService/GetTemplate": PRODUCERS,
    "TemplateService/ListTemplates": PRODUCERS,
    "TemplateService/UpdateTemplate": PRODUCERS,
    "InboxService/WatchInbox": OWNERS,
    "InboxService/ListInboxMessages": OWNERS,
    "InboxService/MarkRead": OWNERS,
}

POLICY: Policy = {PREFIX + method: rule for method, rule in _RULES.items()}
