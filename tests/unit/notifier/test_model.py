"""The model and the contract speak of the same things by the same numbers."""

import pytest

from aerofusion.notify.v1 import notification_service_pb2 as pb
from notifier import model, policy, retry
from notifier.settings import Settings


PAIRS = [
    (model.Category, pb.Category, "CATEGORY_"),
    (model.Lane, pb.Lane, "LANE_"),
    (model.Reason, pb.Reason, "REASON_"),
    (model.DeliveryState, pb.Delivery.State, "STATE_"),
    (model.EventKind, pb.TimelineEvent.Kind, "KIND_"),
    (retry.Resolution, pb.ResolveDeliveryRequest.Resolution, "RESOLUTION_"),
]


@pytest.mark.parametrize(
    ("ours", "theirs", "prefix"), PAIRS, ids=lambda p: getattr(p, "__name__", "")
)
def test_enums_have_the_numbers_of_the_contract(ours, theirs, prefix):
    named = {m.name: int(m) for m in ours if m.name != "NONE"}
    contract = {name.removeprefix(prefix): number for name, number in theirs.items() if number}

    assert named == contract


def test_every_method_has_a_rule_and_every_rule_a_method():
    from aerofusion.notify.v1 import (
        inbox_service_pb2,
        notification_service_pb2,
        recipient_service_pb2,
        subscription_service_pb2,
        template_service_pb2,
    )

    methods = {
        f"/{service.full_name}/{method.name}"
        for module in (
            inbox_service_pb2,
            notification_service_pb2,
            recipient_service_pb2,
            subscription_service_pb2,
            template_service_pb2,
        )
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }

    assert set(policy.POLICY) == methods


@pytest.mark.parametrize(
    "changes",
    [
        {"smtp_security": "some"},
        {"smtp_address": "mail"},
        {"smtp_address": ":25x"},
        {"smtp_sender": "nobody"},
        {"smtp_sender": "a@b\r\nBcc: c@d"},
        {"smtp_username": "u"},
    ],
)
def test_settings_that_cannot_work_are_refused(changes):
    (name,) = changes
    told = "smtp_password_file" if name == "smtp_username" else name
    with pytest.raises(ValueError, match=f"^{told}: "):
        Settings(postgres_dsn="postgresql:///notifier", **changes)


def test_every_setting_that_cannot_work_is_told():
    with pytest.raises(ValueError, match="postgres_dsn") as raised:
        Settings(smtp_security="some", smtp_address="mail")

    assert len(str(raised.value).splitlines()) == 3
