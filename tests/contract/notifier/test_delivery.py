"""From acceptance to the recipient, through every part."""

import asyncio

from tests.contract.notifier.conftest import kinds


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
    assert mail.get_body(("plain",)).get_content().strip() == ("Hello ADA, UA1545 leaves at 10:15.")
    assert [m.title for m in inbox.messages] == ["UA1545 is late"]
    assert inbox.unread_count == 1
