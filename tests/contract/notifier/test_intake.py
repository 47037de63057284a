"""What is accepted, what is refused, and how a caller can tell."""

import asyncio

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from aerofusion.notify.v1 import notification_service_pb2 as pb
from aerofusion.notify.v1 import recipient_service_pb2 as recipient_pb
from aerofusion.notify.v1 import template_service_pb2 as template_pb
from tests.contract.notifier.conftest import TENANT, notification


def refusal(error: grpc.aio.AioRpcError) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    """Code, reason and field violations."""
    status = rpc_status.from_call(error)
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
    return error.code(), info.reason, {v.field: v.description for v in bad.field_violations}


async def refused(call) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return refusal(raised.value)


async def test_a_repeated_request_id_returns_the_first_notification(client, sink):
    await client.add_template()
    await client.add_recipient("ada")

    first = await client.notify("ada", request_id="delay-1")
    again = await client.notify("ada", request_id="delay-1")
    await client.settled(first.name)

    assert again.name == first.name
    assert again.variables == first.variables
    assert len(await sink.wait_for(1)) == 1


async def test_a_request_id_with_other_content_is_refused(client):
    await client.add_template()
    await client.add_recipient("ada")
    await client.notify("ada", request_id="delay-1")

    code, reason, _ = await refused(
        client.notify("ada", request_id="delay-1", subject_key="flights/UA1545")
    )

    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")


async def test_concurrent_repeats_make_one_notification(client):
    await client.add_template()
    await client.add_recipient("ada")

    made = await asyncio.gather(*(client.notify("ada", request_id="same") for _ in range(8)))

    assert len({one.name for one in made}) == 1


async def test_a_batch_is_accepted_whole_and_repeats_itself_without_harm(client):
    await client.add_template()
    await client.add_recipient("ada", channels=["inapp"])
    request = pb.BatchCreateNotificationsRequest(
        parent=TENANT,
        requests=[
            pb.CreateNotificationRequest(notification=notification("ada"), request_id=f"r{n}")
            for n in range(300)
        ],
    )

    first = await client.notifications.BatchCreateNotifications(request)
    again = await client.notifications.BatchCreateNotifications(request)
    for one in first.notifications:
        await client.settled(one.name)

    assert [n.name for n in first.notifications] == [n.name for n in again.notifications]
    assert (await client.messages("ada")).unread_count == 300


async def test_one_bad_notification_refuses_the_whole_batch_and_names_its_place(client):
    await client.add_template()
    await client.add_recipient("ada")
    request = pb.BatchCreateNotificationsRequest(
        parent=TENANT,
        requests=[
            pb.CreateNotificationRequest(notification=notification("ada")),
            pb.CreateNotificationRequest(notification=notification("ada", channels=["pigeon"])),
        ],
    )

    code, reason, fields = await refused(client.notifications.BatchCreateNotifications(request))
    listed = await client.notifications.ListNotifications(
        pb.ListNotificationsRequest(parent=TENANT)
    )

    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_NOTIFICATION")
    assert list(fields) == ["requests[1].notification.channels"]
    assert not listed.notifications


async def test_an_unknown_template_is_not_found(client):
    await client.add_recipient("ada")

    code, reason, _ = await refused(client.notify("ada"))

    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "TEMPLATE_NOT_FOUND")


async def test_an_unknown_recipient_is_not_found(client):
    await client.add_template()

    code, reason, _ = await refused(client.notify("nobody"))

    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "RECIPIENT_NOT_FOUND")


async def test_a_malformed_name_is_invalid(client):
    code, reason, fields = await refused(client.get("tenants//notifications/a"))

    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_NAME")
    assert "name" in fields


@pytest.mark.parametrize("last", ["none", "0190aaaa-0000-7000-8000-000000000000"])
async def test_an_unknown_notification_is_not_found(client, last):
    code, reason, _ = await refused(client.get(f"{TENANT}/notifications/{last}"))

    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "NOTIFICATION_NOT_FOUND")


async def test_bytes_that_are_no_message_are_invalid(client):
    call = client.channel.unary_unary(
        "/aerofusion.notify.v1.NotificationService/CreateNotification"
    )

    code, _, _ = await refused(call(b"\xff\xff\xff"))

    assert code == grpc.StatusCode.INVALID_ARGUMENT


async def test_lists_page_through_everything_once(client):
    await client.add_template()
    await client.add_recipient("ada", channels=["inapp"])
    made = [(await client.notify("ada")).name for _ in range(5)]

    seen, token = [], ""
    while True:
        page = await client.notifications.ListNotifications(
            pb.ListNotificationsRequest(parent=TENANT, page_size=2, page_token=token)
        )
        seen += [n.name for n in page.notifications]
        token = page.next_page_token
        if not token:
            break

    assert seen == made[::-1]


async def test_a_stale_etag_is_refused(client):
    first = await client.add_recipient("ada")
    await client.add_recipient("ada", locale="tr")

    code, reason, _ = await refused(client.add_recipient("ada", etag=first.etag))

    assert (code, reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")


async def test_an_update_mask_leaves_the_rest_alone(client):
    await client.add_recipient("ada", locale="tr")
    request = recipient_pb.UpdateRecipientRequest(
        recipient=recipient_pb.Recipient(name=f"{TENANT}/recipients/ada", channels=["inapp"])
    )
    request.update_mask.paths.append("channels")

    changed = (await client.recipients.UpdateRecipient(request)).recipient

    assert list(changed.channels) == ["inapp"]
    assert changed.locale == "tr"
    assert changed.addresses[0].value == "ada@example.org"


async def test_a_thousand_recipients_are_stored_by_one_call(client):
    request = recipient_pb.BatchUpdateRecipientsRequest(
        parent=TENANT,
        requests=[
            recipient_pb.UpdateRecipientRequest(
                recipient=recipient_pb.Recipient(
                    name=f"{TENANT}/recipients/p{n:04}", channels=["inapp", "email"][: n % 3]
                ),
                allow_missing=True,
            )
            for n in range(1000)
        ],
    )

    stored = await client.recipients.BatchUpdateRecipients(request)
    again = await client.recipients.BatchUpdateRecipients(request)

    assert [r.name for r in stored.recipients] == [r.recipient.name for r in request.requests]
    assert list(again.recipients[2].channels) == ["email", "inapp"]


async def test_a_deleted_recipient_is_gone_with_inbox_and_subscriptions(client):
    await client.add_template()
    await client.add_recipient("ada", channels=["inapp"])
    await client.subscribe("flight.UA1545", "ada")
    await client.settled((await client.notify("ada")).name)

    await client.recipients.DeleteRecipient(
        recipient_pb.DeleteRecipientRequest(name=f"{TENANT}/recipients/ada")
    )
    code, reason, _ = await refused(client.messages("ada"))
    made = await client.notify(topics=[f"{TENANT}/topics/flight.UA1545"])
    found = await client.settled(made.name)

    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "RECIPIENT_NOT_FOUND")
    assert found.timeline[-1].reason == pb.REASON_EMPTY_AUDIENCE


async def test_a_template_gets_a_version_only_when_it_changes(client):
    await client.add_template()
    await client.add_template()
    await client.add_template(display_name="Delays")

    newest = await client.templates.GetTemplate(
        template_pb.GetTemplateRequest(name=f"{TENANT}/templates/delay")
    )
    first = await client.templates.GetTemplate(
        template_pb.GetTemplateRequest(name=f"{TENANT}/templates/delay", version=1)
    )

    assert newest.template.version == 2
    assert first.template.display_name == ""


async def test_what_is_wrong_comes_back_as_field_violations(client):
    code, reason, fields = await refused(client.notify(template="delay", channels=["pigeon"]))
    _, recipient_reason, recipient_fields = await refused(
        client.add_recipient("ada", time_zone="Mars/Olympus")
    )
    _, template_reason, template_fields = await refused(
        client.add_template(
            contents=[template_pb.TemplateContent(channel="email", subject="s", text="{{ broken")]
        )
    )

    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_NOTIFICATION")
    assert set(fields) == {
        "notification.template",
        "notification.channels",
        "notification.recipients",
    }
    assert recipient_reason == "INVALID_RECIPIENT"
    assert list(recipient_fields) == ["recipient.time_zone"]
    assert template_reason == "INVALID_TEMPLATE"
    assert list(template_fields) == ["template.contents[0].text"]
