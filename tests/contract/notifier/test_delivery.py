"""From acceptance to the recipient, through every part; and what stops on the way, and why."""

from datetime import UTC, datetime, timedelta

import pytest

from aerofusion.notify.v1 import notification_service_pb2 as pb
from aerofusion.notify.v1 import recipient_service_pb2 as recipient_pb
from aerofusion.notify.v1 import template_service_pb2 as template_pb
from tests.contract.notifier.conftest import TENANT, kinds, reasons


async def test_a_notification_reaches_mail_and_inbox_and_its_timeline_tells_all(client, sink):
    await client.add_template()
    await client.add_recipient("ada")

    accepted = await client.notify("ada")
    found = await client.settled(accepted.name)
    (mail,) = await sink.wait_for(1)
    inbox = await client.messages("ada")

    assert found.notification.delivery_counts.delivered == 2
    assert sorted(kinds(found)) == sorted(
        ["ACCEPTED", "PLANNED", "PLANNED", "AUDIENCE_COMPLETE"]
        + ["ATTEMPT_STARTED", "DELIVERED"] * 2
    )
    assert mail["To"] == "ada@example.org"
    assert mail["Subject"] == "UA1545 is late"
    assert mail.get_body(("plain",)).get_content().strip() == "Hello ADA, UA1545 leaves at 10:15."
    assert mail.get_body(("html",)).get_content().strip() == "<p>UA1545</p>"
    assert [m.title for m in inbox.messages] == ["UA1545 is late"]
    assert inbox.unread_count == 1


async def test_all_subscribers_of_a_topic_get_it_each_once(client):
    await client.add_template()
    names = [f"p{n:03}" for n in range(450)]
    await client.recipients.BatchUpdateRecipients(
        recipient_pb.BatchUpdateRecipientsRequest(
            parent=TENANT,
            requests=[
                recipient_pb.UpdateRecipientRequest(
                    recipient=recipient_pb.Recipient(
                        name=f"{TENANT}/recipients/{one}", channels=["inapp"]
                    ),
                    allow_missing=True,
                )
                for one in names
            ],
        )
    )
    assert await client.subscribe("flight.UA1545", *names) == 450
    assert await client.subscribe("crew.UA1545", *names[:10]) == 10

    made = await client.notify(
        "p001",
        topics=[f"{TENANT}/topics/flight.UA1545", f"{TENANT}/topics/crew.UA1545"],
    )
    found = await client.settled(made.name)

    assert found.notification.delivery_counts.delivered == 450
    assert (await client.messages("p001")).unread_count == 1
    assert found.next_page_token
    rest = await client.notifications.ListTimelineEvents(
        pb.ListTimelineEventsRequest(parent=made.name, page_token=found.next_page_token)
    )
    # Accepted, then for each: mail not planned; inbox planned, attempted, delivered.
    assert len(found.timeline) + len(rest.timeline_events) == 1 + 450 * 4 + 1


async def test_the_best_language_is_used(client, sink):
    def say(locale: str, subject: str) -> template_pb.TemplateContent:
        return template_pb.TemplateContent(
            channel="email", locale=locale, subject=subject, text=subject
        )

    await client.add_template(
        contents=[say("en", "Late"), say("tr", "Gecikme"), say("pt-BR", "Atraso")]
    )
    await client.add_recipient("ada", locale="tr-CY", channels=["email"])

    await client.settled((await client.notify("ada")).name)
    (mail,) = await sink.wait_for(1)

    assert mail["Subject"] == "Gecikme"
    assert mail["Content-Language"] == "tr"


@pytest.mark.parametrize(
    ("recipient", "changes", "wanted"),
    [
        ({"channels": ["inapp"]}, {}, {"email": "CHANNEL_NOT_CHOSEN"}),
        ({"addresses": []}, {}, {"email": "NO_ADDRESS"}),
        (
            {"preferences": [recipient_pb.CategoryPreference(category=2, channels=[])]},
            {},
            {"email": "CHANNEL_NOT_CHOSEN", "inapp": "CHANNEL_NOT_CHOSEN"},
        ),
        ({}, {"category": 3}, {"email": "CHANNEL_NOT_CHOSEN", "inapp": "CHANNEL_NOT_CHOSEN"}),
        (
            {},
            {"useless_after": datetime(2020, 1, 1, tzinfo=UTC)},
            {"email": "TOO_LATE", "inapp": "TOO_LATE"},
        ),
    ],
)
async def test_what_does_not_go_out_has_a_reason(client, recipient, changes, wanted):
    await client.add_template()
    await client.add_recipient("ada", **recipient)

    found = await client.settled((await client.notify("ada", **changes)).name)

    assert reasons(found) == wanted
    assert found.notification.delivery_counts.delivered == 2 - len(wanted)


async def test_critical_overrules_the_choice_of_channels(client, sink):
    await client.add_template()
    await client.add_recipient("ada", channels=[])

    found = await client.settled((await client.notify("ada", category=pb.CATEGORY_CRITICAL)).name)

    assert found.notification.delivery_counts.delivered == 2
    assert found.notification.lane == pb.LANE_URGENT


async def test_a_missing_variable_fails_the_delivery_and_says_which(client):
    await client.add_template()
    await client.add_recipient("ada", channels=["inapp"])

    found = await client.settled((await client.notify("ada", variables={"flight": "X"})).name)

    failed = next(e for e in found.timeline if e.kind == pb.TimelineEvent.KIND_FAILED)
    assert failed.reason == pb.REASON_RENDER_FAILED
    assert "time" in failed.detail


async def test_values_are_escaped_in_html_and_cannot_add_headers(client, sink):
    await client.add_template()
    await client.add_recipient("ada", channels=["email"])

    made = await client.notify(
        "ada", variables={"flight": "<b>X</b>\r\nBcc: eve@example.org", "time": "1"}
    )
    await client.settled(made.name)
    (mail,) = await sink.wait_for(1)

    assert "Bcc" not in mail
    assert mail["Subject"] == "<b>X</b> Bcc: eve@example.org is late"
    assert "&lt;b&gt;" in mail.get_body(("html",)).get_content()


async def test_a_newer_version_of_a_subject_replaces_the_older(client):
    await client.add_template()
    await client.add_recipient("ada", channels=["inapp"])
    subject = {"subject_key": "flights/UA1545/gate"}

    first = await client.notify("ada", subject_version=1, **subject)
    await client.settled(first.name)
    third = await client.notify("ada", subject_version=3, **subject)
    await client.settled(third.name)
    second = await client.settled((await client.notify("ada", subject_version=2, **subject)).name)
    inbox = await client.messages("ada")

    assert [m.subject_version for m in inbox.messages] == [3]
    assert inbox.unread_count == 1
    assert "SUPERSEDED" in kinds(second)
    assert second.notification.delivery_counts.delivered == 0


async def test_a_cancelled_notification_stops_what_waits(start, settings, sink):
    sink.reply = lambda _: "451 come back later"
    async with start() as client:
        await client.add_template()
        await client.add_recipient("ada", channels=["email"])
        made = await client.notify("ada")
        await client.settled(made.name, lambda f: "RETRY_SCHEDULED" in kinds(f))

        await client.notifications.CancelNotification(pb.CancelNotificationRequest(name=made.name))
        await client.notifications.CancelNotification(pb.CancelNotificationRequest(name=made.name))
        found = await client.get(made.name)

    assert found.notification.state == pb.Notification.STATE_CANCELLED
    assert found.notification.delivery_counts.dropped == 1
    assert kinds(found).count("CANCELLED") == 1
    assert found.timeline[-1].reason == pb.REASON_CANCELLED


async def test_a_passing_fault_is_retried_until_it_passes(client, sink):
    replies = iter(["451 busy", "421 busy"])
    sink.reply = lambda _: next(replies, "250 OK")
    await client.add_template()
    await client.add_recipient("ada", channels=["email"])

    made = await client.notify("ada", lane=pb.LANE_URGENT)
    found = await client.settled(made.name)

    assert kinds(found).count("ATTEMPT_STARTED") == 3
    assert found.notification.delivery_counts.delivered == 1
    assert len(await sink.wait_for(1)) == 1


async def test_a_dead_address_fails_at_once(client, sink):
    sink.rcpt_reply = lambda _: "550 no such user"
    await client.add_template()
    await client.add_recipient("ada", channels=["email"])

    found = await client.settled((await client.notify("ada")).name)

    assert reasons(found)["email"] == "ADDRESS_REFUSED"
    assert "ada@" not in str(found.timeline)


async def test_nothing_is_handed_over_after_it_became_useless(client, sink):
    sink.reply = lambda _: "451 busy"
    await client.add_template()
    await client.add_recipient("ada", channels=["email"])

    made = await client.notify(
        "ada",
        lane=pb.LANE_URGENT,
        useless_after=datetime.now(UTC) + timedelta(seconds=1.5),
    )
    found = await client.settled(made.name)

    assert found.notification.delivery_counts.dropped == 1
    assert found.timeline[-1].reason == pb.REASON_TOO_LATE
    assert not sink.mails


async def test_mail_without_confirmation_stays_uncertain_until_someone_decides(start, sink):
    sink.hang_up_after_data = True
    async with start(peer="operator") as client:
        await client.add_template()
        await client.add_recipient("ada", channels=["email"])
        made = await client.notify("ada")
        found = await client.settled(made.name, lambda f: "UNCERTAIN" in kinds(f))
        (delivery,) = (
            await client.notifications.ListDeliveries(pb.ListDeliveriesRequest(parent=made.name))
        ).deliveries
        assert delivery.state == pb.Delivery.STATE_UNCERTAIN
        assert delivery.reason == pb.REASON_NO_CONFIRMATION
        assert found.notification.state == pb.Notification.STATE_IN_PROGRESS

        sink.hang_up_after_data = False
        await client.notifications.ResolveDelivery(
            pb.ResolveDeliveryRequest(
                name=delivery.name, resolution=pb.ResolveDeliveryRequest.RESOLUTION_RESEND
            )
        )
        resent = await client.settled(made.name)
        mails = await sink.wait_for(2)

    assert resent.notification.delivery_counts.delivered == 1
    assert "RESENT" in kinds(resent)
    assert mails[0]["Message-ID"] == mails[1]["Message-ID"]
    assert mails[1]["X-AeroFusion-Possible-Duplicate"] == "yes"


async def test_a_critical_mail_without_confirmation_is_resent_once_and_says_so(client, sink):
    sink.hang_up_after_data = True
    await client.add_template(
        contents=[template_pb.TemplateContent(channel="email", subject="s", text="t")]
    )
    await client.add_recipient("ada")

    made = await client.notify("ada", category=pb.CATEGORY_CRITICAL)
    found = await client.settled(made.name, lambda f: "UNCERTAIN" in kinds(f))

    assert [k for k in kinds(found) if k in ("RESENT", "UNCERTAIN")] == ["RESENT", "UNCERTAIN"]
    assert len(sink.mails) == 2


async def test_without_a_mail_server_the_channel_is_not_configured(start, settings):
    from dataclasses import replace

    async with start(replace(settings, smtp_address="")) as client:
        await client.add_template()
        await client.add_recipient("ada")
        found = await client.settled((await client.notify("ada")).name)

    assert reasons(found) == {"email": "CHANNEL_NOT_CONFIGURED"}
