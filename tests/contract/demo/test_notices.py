"""Notices of the day through a real notifier: into inboxes, and by real mail into the Maildir."""

import asyncio
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy

import pytest

from aerofusion.notify.v1 import notification_service_pb2, notification_service_pb2_grpc
from meshctl.demo import mailsink
from meshctl.demo.counts import Counts
from meshctl.demo.edge import Edge
from meshctl.demo.inbox import Inbox
from meshctl.demo.inboxes import InboxMeters, InboxStream
from meshctl.demo.mailsink import maildir_folder
from meshctl.demo.passengers import Channel, followers, passengers_of
from meshctl.demo.publishers import Meters, NoticePublisher
from meshctl.demo.replay import Clock, Replay
from meshctl.demo.settings import MailsinkSettings
from meshctl.demo.tenant import Tenant
from meshctl.demo.timeline import events_of
from notifier.app import serve
from notifier.settings import Settings
from tests.fixtures.day import small_day


@pytest.fixture(scope="module")
def day():
    return small_day()


@pytest.fixture(scope="module")
def played(day):
    return list(Replay(day=day, events=events_of(day), loops=1).occurrences())


@pytest.fixture(scope="module")
def passengers(day):
    return passengers_of(day, 12)


@pytest.fixture
def clock(day):
    """Everything happens about now: nothing is useless yet."""
    return Clock(simulated=day.begins, real=datetime.now(UTC), speed=100_000)


@pytest.fixture
async def edge(ca, postgres, run_serve, tmp_path):
    dsn = await postgres.database("notifier")
    sink = MailsinkSettings(state_dir=tmp_path / "mailsink")
    async with run_serve(mailsink.serve, sink, workload=ca.workload("mailsink")) as smtp:
        settings = Settings(postgres_dsn=dsn, smtp_address=f"127.0.0.1:{smtp}")
        async with (
            run_serve(serve, settings, workload=ca.workload("notifier")) as port,
            ca.workload("flightinfo").channel(f"127.0.0.1:{port}", service="notifier") as channel,
        ):
            yield Edge(channel, token=lambda: "", call_timeout=timedelta(seconds=10))


@pytest.fixture
async def tenant(edge, day, passengers):
    made = Tenant("nyc", edge)
    await made.prepare_texts()
    await made.prepare_passengers(day, passengers)
    return made


@pytest.fixture
def counts(tmp_path):
    return Counts(part="flightinfo", folder=tmp_path)


@pytest.fixture
def publisher(edge, tenant, passengers, counts):
    return NoticePublisher(
        tenant="nyc",
        run="r1",
        edge=edge,
        followed=followers(passengers),
        counts=counts,
        meters=Meters(),
        calls_max=4,
    )


async def known(edge):
    stub = notification_service_pb2_grpc.NotificationServiceStub(edge.channel)
    answer = await edge.call(
        stub.ListNotifications,
        notification_service_pb2.ListNotificationsRequest(parent="tenants/nyc", page_size=500),
    )
    return [n.labels["flight"] + "/" + n.labels["event"] for n in answer.notifications]


async def test_a_day_told_twice_is_told_once(edge, publisher, played, clock, counts):
    await publisher.publish(played, clock)
    told = await known(edge)
    await publisher.publish(played, clock)

    assert counts["notifications_refused"] == 0
    assert counts["notifications"] == 2 * len(told) > 0
    assert await known(edge) == told


async def test_preparing_the_tenant_again_changes_nothing(edge, tenant, day, passengers):
    await tenant.prepare_texts()
    await tenant.prepare_passengers(day, passengers)

    assert await known(edge) == []


async def test_mail_reaches_those_who_chose_it_in_their_language(
    publisher, played, clock, passengers, tmp_path
):
    await publisher.publish(played, clock)

    folder = maildir_folder(tmp_path / "mailsink") / "new"
    wanted = {p.email for p in passengers if Channel.EMAIL in p.channels}
    async with asyncio.timeout(30):
        found = set()
        while not wanted <= found:
            await asyncio.sleep(0.05)  # polls a folder
            mails = [
                message_from_bytes(path.read_bytes(), policy=policy.default)
                for path in folder.iterdir()
            ]
            found = {mail["To"].addresses[0].addr_spec for mail in mails}

    names = {p.email: p.name for p in passengers}
    for mail in mails:
        addressee = mail["To"].addresses[0].addr_spec
        assert names[addressee] in mail.get_body(("plain",)).get_content()


@pytest.fixture
def reader(passengers):
    return next(p for p in passengers if Channel.IN_APP in p.channels)


class Watched(InboxMeters):
    """Meters that also tell when a message has come."""

    def __init__(self, counts):
        super().__init__(counts)
        self.news = asyncio.Event()

    def came(self, how, message):
        super().came(how, message)
        self.news.set()


@pytest.fixture
def follow_until(edge, reader, tmp_path):
    meters = Watched(Counts(part="devices", folder=tmp_path))
    inbox = Inbox()
    stream = InboxStream(
        recipient=f"tenants/nyc/recipients/{reader.id}",
        inbox=inbox,
        token=lambda: "",
        meters=meters,
    )

    async def follow_until(enough):
        """Keep the stream open until *enough* of the inbox has come, then break it off."""
        task = asyncio.create_task(stream.run(edge.channel))
        async with asyncio.timeout(20):
            while not enough(inbox):
                await meters.news.wait()
                meters.news.clear()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return inbox

    return follow_until


async def test_an_inbox_brings_each_message_once_live_and_after_an_interruption(
    publisher, played, clock, reader, follow_until
):
    mine = [o for o in played if o.event.flight.key in reader.flights]
    await publisher.publish(mine[:3], clock)
    before = (await follow_until(lambda inbox: inbox.newest >= 1)).newest
    await publisher.publish(mine, clock)
    inbox = await follow_until(lambda inbox: inbox.newest > before)

    assert inbox.missing == set()
