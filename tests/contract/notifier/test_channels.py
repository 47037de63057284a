"""What every channel owes the lanes. New channels are picked up from the table."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from meshkit.bus import Bus
from meshkit.ids import new_id
from meshkit.postgres import migrate, open_pool
from notifier.channels import CHANNELS
from notifier.channels.seam import Parts
from notifier.model import Category, Lane, Message, Reason, Recipient
from notifier.outcome import Delivered, Dropped, Refused, RetryLater, Unconfirmed
from notifier.store.inbox import InboxStore
from notifier.store.recipients import RecipientStore
from notifier.wakes import Wakes


NOW = datetime.now(UTC)
ADDRESSES = {"email": "ada@example.org", "inapp": ""}


@pytest.fixture
async def parts(ca, settings):
    async with open_pool(settings.postgres_dsn, application_name="test") as pool:
        await migrate(pool, "notifier.store.migrations")
        await RecipientStore(pool).create("t", Recipient(id="ada"), now=NOW, repeat=False)
        yield Parts(
            settings=settings,
            workload=ca.workload("notifier"),
            inbox=InboxStore(pool),
            wakes=Wakes(Bus()),
            clock=lambda: datetime.now(UTC),
        )


@pytest.fixture(params=CHANNELS)
async def channel(request, parts):
    made = CHANNELS[request.param].build(parts)
    assert made is not None
    yield made
    await made.close()


@pytest.fixture
def message(request, channel) -> Message:
    name = next(n for n, kind in CHANNELS.items() if type(channel).__module__.endswith(n) and kind)
    return Message(
        tenant="t",
        notification=new_id(),
        delivery=new_id(),
        recipient="ada",
        address=ADDRESSES[name],
        lane=Lane.NORMAL,
        category=Category.SERVICE,
        attempt=1,
        locale="en",
        subject="Gate changed: ✈ B22",
        text="Your gate is B22.\n.\nA line with a dot above.",
        html="<p>B22</p>",
        action_url="/gate",
        subject_key="",
        subject_version=0,
        labels={},
        create_time=NOW,
        useless_after=NOW + timedelta(hours=1),
    )


async def test_a_good_message_is_delivered_with_a_receipt(channel, message):
    (outcome,) = await channel.deliver([message])

    assert isinstance(outcome, Delivered)
    assert outcome.receipt


async def test_nothing_is_handed_over_after_it_became_useless(channel, message):
    (outcome,) = await channel.deliver([replace(message, useless_after=NOW)])

    assert outcome == Dropped(Reason.TOO_LATE)


async def test_a_full_batch_has_one_outcome_for_each_message_in_order(channel, message):
    batch = [replace(message, delivery=new_id()) for _ in range(channel.batch_max)]

    outcomes = await channel.deliver(batch)

    assert len(outcomes) == len(batch)
    assert all(isinstance(outcome, Delivered) for outcome in outcomes)


async def test_a_repeat_is_recognised_where_the_channel_says_so(channel, message):
    first = await channel.deliver([message])
    again = await channel.deliver([replace(message, attempt=2)])

    assert isinstance(again[0], Delivered)
    assert (first == again) or not channel.repeatable


async def test_every_table_row_can_judge_an_address():
    for kind in CHANNELS.values():
        assert kind.address_problem("not an address\r\n")


class TestEmail:
    @pytest.fixture
    def channel(self, parts):
        return CHANNELS["email"].build(parts)

    @pytest.mark.parametrize(
        ("reply", "outcome"),
        [
            ("451 later", RetryLater(Reason.PROVIDER_BUSY, "SMTP 451")),
            ("554 spam", Refused(Reason.MESSAGE_REFUSED, "SMTP 554")),
            ("530 log in first", RetryLater(Reason.PROVIDER_REFUSED_US, "SMTP 530")),
        ],
    )
    async def test_a_reply_to_the_message_decides(self, channel, message, sink, reply, outcome):
        sink.reply = lambda _: reply

        assert await channel.deliver([message]) == [outcome]
        sink.reply = lambda _: "250 OK"
        (again,) = await channel.deliver([message])
        assert isinstance(again, Delivered), "the connection is usable after a refusal"

    @pytest.mark.parametrize(
        ("reply", "outcome"),
        [
            ("450 greylisted", RetryLater(Reason.PROVIDER_BUSY, "SMTP 450")),
            ("550 unknown", Refused(Reason.ADDRESS_REFUSED, "SMTP 550")),
        ],
    )
    async def test_a_reply_to_the_address_decides(self, channel, message, sink, reply, outcome):
        sink.rcpt_reply = lambda _: reply

        assert await channel.deliver([message]) == [outcome]

    async def test_a_server_that_is_away_is_tried_again_later(self, parts, message):
        closed = replace(parts.settings, smtp_address="127.0.0.1:1")
        channel = CHANNELS["email"].build(replace(parts, settings=closed))

        (outcome,) = await channel.deliver([message])

        assert isinstance(outcome, RetryLater)
        assert outcome.reason is Reason.PROVIDER_UNREACHABLE

    async def test_a_connection_lost_after_the_message_leaves_it_unconfirmed(
        self, channel, message, sink
    ):
        sink.hang_up_after_data = True

        (outcome,) = await channel.deliver([message])

        assert isinstance(outcome, Unconfirmed)
        assert outcome.reason is Reason.NO_CONFIRMATION

    async def test_a_server_with_another_name_is_not_believed(self, parts, message, ca):
        import asyncio

        from aiosmtpd.smtp import SMTP

        stranger = await asyncio.get_running_loop().create_server(
            lambda: SMTP(object()), "127.0.0.1", 0, ssl=ca.workload("syncd").server_ssl_context()
        )
        port = stranger.sockets[0].getsockname()[1]
        wrong = replace(parts.settings, smtp_address=f"127.0.0.1:{port}")
        channel = CHANNELS["email"].build(replace(parts, settings=wrong))

        (outcome,) = await channel.deliver([message])
        stranger.close()

        assert isinstance(outcome, RetryLater)

    async def test_what_is_sent_is_what_was_written(self, channel, message, sink):
        await channel.deliver([message])
        (mail,) = await sink.wait_for(1)

        assert mail["Subject"] == message.subject
        assert mail.get_body(("plain",)).get_content().splitlines() == message.text.splitlines()
        assert mail["Message-ID"] == f"<{message.delivery}@aerofusion.example>"
