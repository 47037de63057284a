"""Parts are killed and come back: nothing acknowledged is lost, no mail goes out twice unnoticed."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from aerofusion.notify.v1 import notification_service_pb2 as pb
from meshkit.identity import IdentityFolder
from meshkit.ids import new_id
from meshkit.postgres import migrate, open_pool
from notifier.app import serve
from notifier.model import Category, Content, Lane, Notification, Recipient, Template
from notifier.store.deliveries import DeliveryStore
from notifier.store.notifications import Draft, NotificationStore
from notifier.store.planning import NewDelivery, PlanningStore
from notifier.store.recipients import RecipientStore
from notifier.store.templates import TemplateStore
from tests.contract.notifier.conftest import TENANT, WITHIN_S, Client, kinds, notification


ROOT = Path(__file__).resolve().parents[3]


PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


async def persistently(call):
    """The result of *call*, tried until the service is back; as a producer would."""
    async with asyncio.timeout(WITHIN_S * 2):
        while True:
            try:
                return await call()
            except grpc.aio.AioRpcError as error:
                if error.code() not in PASSING:
                    raise
            await asyncio.sleep(0.05)  # polls


async def test_postgres_killed_and_back_loses_nothing(own_postgres, run_serve, ca, settings, sink):
    dsn = await own_postgres.database("notifier")
    configured = replace(settings, postgres_dsn=dsn)
    async with contextlib.AsyncExitStack() as stack:
        port = await stack.enter_async_context(
            run_serve(serve, configured, workload=ca.workload("notifier"))
        )
        channel = await stack.enter_async_context(
            ca.workload("flightinfo").channel(f"127.0.0.1:{port}", service="notifier")
        )
        client = Client(channel, port)
        await client.add_template()
        await client.add_recipient("ada")
        before = [await client.notify("ada", request_id=f"a{n}") for n in range(20)]

        await asyncio.to_thread(own_postgres.kill)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.notify("ada")
        await asyncio.to_thread(own_postgres.start)
        after = [
            await persistently(lambda n=n: client.notify("ada", request_id=f"b{n}"))
            for n in range(20)
        ]
        found = [await persistently(lambda n=n: client.settled(n.name)) for n in before + after]
        inbox = await client.messages("ada", page_size=100)

    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    assert all(f.notification.delivery_counts.delivered == 2 for f in found)
    assert [m.seq for m in inbox.messages] == list(range(40, 0, -1))
    assert len({m["Message-ID"] for m in sink.mails}) == len(sink.mails) == 40


class Process:
    """`python -m notifier serve`, to be killed."""

    def __init__(self, environ: dict[str, str], folder: Path) -> None:
        self._environ = environ
        self._folder = folder

    async def start(self) -> int:
        """Returns its port once it is ready."""
        address = self._folder / "notify.sock"
        address.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(str(address))
            listener.setblocking(False)
            with (self._folder / "notifier.log").open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "notifier",
                    "serve",
                    cwd=ROOT,
                    env={**self._environ, "NOTIFY_SOCKET": str(address)},
                    stderr=log,
                )
            async with asyncio.timeout(WITHIN_S * 2):
                while True:
                    told = (await loop.sock_recv(listener, 4096)).decode()
                    for line in told.splitlines():
                        if line.startswith("X_PORT="):
                            return int(line.removeprefix("X_PORT="))

    async def end(self, how: signal.Signals) -> int:
        self._process.send_signal(how)
        return await self._process.wait()


async def test_a_killed_process_loses_nothing_and_doubts_what_it_was_doing(
    tmp_path, ca, settings, sink
):
    """Killed twice under load, with mail under way each time."""
    IdentityFolder(tmp_path / "identity").write(ca.material("notifier"))
    environ = {
        **{k: v for k, v in os.environ.items() if not k.startswith("NOTIFIER_")},
        "PYTHONPATH": os.pathsep.join(sys.path),
        "NOTIFIER_POSTGRES_DSN": settings.postgres_dsn,
        "NOTIFIER_SMTP_ADDRESS": settings.smtp_address,
        "NOTIFIER_IDENTITY_DIR": str(tmp_path / "identity"),
        "NOTIFIER_POLL_INTERVAL": "0.1",
        "NOTIFIER_ATTEMPT_TIMEOUT": "2",
        "NOTIFIER_LEASE_MARGIN": "0.5",
    }
    process = Process(environ, tmp_path)
    names: list[str] = []
    for round_number in range(3):
        port = await process.start()
        address = f"127.0.0.1:{port}"
        async with ca.workload("flightinfo").channel(address, service="notifier") as channel:
            client = Client(channel, port)
            if round_number == 0:
                await client.add_template()
                await client.add_recipient("ada")
            if round_number == 2:
                found = [
                    await client.settled(
                        name,
                        lambda f: (
                            not f.notification.delivery_counts.pending
                            and not f.notification.delivery_counts.in_flight
                            and f.notification.state != pb.Notification.STATE_ACCEPTED
                        ),
                    )
                    for name in names
                ]
                inbox = await client.messages("ada", page_size=500)
                break
            made = await client.notifications.BatchCreateNotifications(
                pb.BatchCreateNotificationsRequest(
                    parent=TENANT,
                    requests=[
                        pb.CreateNotificationRequest(
                            notification=notification("ada"), request_id=f"{round_number}-{n}"
                        )
                        for n in range(60)
                    ],
                )
            )
            names += [one.name for one in made.notifications]
            await sink.wait_for(len(sink.mails) + 10)
            assert await process.end(signal.SIGKILL) == -signal.SIGKILL
    assert await process.end(signal.SIGTERM) == 0

    total = len(names)
    mails = Counter(m["Message-ID"] for m in sink.mails)
    uncertain = sum(f.notification.delivery_counts.uncertain for f in found)
    delivered = sum(f.notification.delivery_counts.delivered for f in found)
    assert total == 120
    assert [m.seq for m in inbox.messages] == list(range(total, 0, -1)), "each exactly once"
    assert delivered + uncertain == 2 * total, "all accounted for"
    assert max(mails.values()) == 1, "no mail twice"
    assert total - uncertain <= len(mails) <= total
    # At most what was under way at each kill: the connections of the normal lane.
    assert uncertain <= 2 * settings.smtp_connections


async def test_a_result_that_comes_late_settles_what_was_uncertain(start, settings, sink):
    """The process lives, its lease ran out meanwhile, and then the server does confirm."""
    configured = replace(
        settings, attempt_timeout=timedelta(seconds=4), lease_margin=timedelta(seconds=0.5)
    )
    async with start(configured) as client:
        await client.add_template()
        await client.add_recipient("ada", channels=["email"])
        released = asyncio.Event()
        loop = asyncio.get_running_loop()
        taken = loop.create_future()
        original = sink.handle_DATA

        async def slow(server, session, envelope):
            reply = await original(server, session, envelope)
            taken.set_result(None)
            await released.wait()
            return reply

        sink.handle_DATA = slow
        made = await client.notify("ada")
        async with asyncio.timeout(WITHIN_S):
            await taken
        await expire_leases(configured.postgres_dsn)
        await client.settled(made.name, lambda f: "UNCERTAIN" in kinds(f))
        released.set()
        found = await client.settled(made.name)

    assert found.notification.delivery_counts.delivered == 1
    assert len(sink.mails) == 1


async def expire_leases(dsn: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(dsn)
    await connection.execute("UPDATE deliveries SET lease_until = now() WHERE state = 3")
    await connection.close()


async def test_a_second_process_takes_over_and_wakes_the_streams_of_the_first(
    run_serve, ca, settings
):
    """Two replicas on one database, without NATS: polling is enough."""
    async with (
        run_serve(serve, settings, workload=ca.workload("notifier", "0")) as one,
        run_serve(serve, settings, workload=ca.workload("notifier", "1")) as two,
        ca.workload("flightinfo").channel(f"127.0.0.1:{one}", service="notifier") as first,
        ca.workload("flightinfo").channel(f"127.0.0.1:{two}", service="notifier") as second,
    ):
        from tests.contract.notifier.test_inbox import Device

        reader, writer = Client(first, one), Client(second, two)
        await writer.add_template()
        await writer.add_recipient("ada", channels=["inapp"])
        device = Device()
        call = device.watch(reader)
        await device.follow(call, lambda d: "caught_up" in d.events)
        for _ in range(5):
            await writer.notify("ada")
        await device.follow(call, lambda d: len(d.messages) == 5)
        call.cancel()

    assert sorted(m.seq for m in device.messages.values()) == [1, 2, 3, 4, 5]


async def test_a_claim_without_an_answer_is_given_back_and_not_doubted(settings):
    """The claim was committed, its answer was lost: this process knows that nothing was sent."""
    now = datetime.now(UTC)
    async with open_pool(settings.postgres_dsn, application_name="test") as pool:
        await migrate(pool, "notifier.store.migrations")
        one, other = (DeliveryStore(pool, worker=name, attempts_max=3) for name in ("one", "other"))
        key = await planned_mail(pool, now)
        asked = {"lease": timedelta(minutes=1), "needs_address": True, "now": now}

        lost, _ = await one.claim("email", Lane.NORMAL, limit=5, **asked)
        not_mine = await other.give_back("email", Lane.NORMAL, under_way=(), now=now)
        under_way = await one.give_back("email", Lane.NORMAL, under_way=[key[2]], now=now)
        given_back = await one.give_back("email", Lane.NORMAL, under_way=(), now=now)
        again, _ = await other.claim("email", Lane.NORMAL, limit=5, **asked)

    assert [claimed.key for claimed in lost] == [key]
    assert (not_mine, under_way, given_back) == (0, 0, 1)
    assert [(claimed.key, claimed.attempt) for claimed in again] == [(key, 2)]


async def planned_mail(pool, now: datetime) -> tuple[str, str, str]:
    """A planned delivery by mail, in the normal lane; returns its key."""
    await RecipientStore(pool).create(
        "t", Recipient(id="ada", addresses={"email": "ada@example.org"}), now=now, repeat=False
    )
    content = Content(channel="email", locale="en", subject="s", text="t")
    await TemplateStore(pool).create(
        "t", Template(id="x", default_locale="en", contents=(content,)), now=now, repeat=False
    )
    made = Notification(
        tenant="t",
        id=new_id(),
        recipients=("ada",),
        topics=(),
        template="x",
        template_version=1,
        variables={},
        category=Category.CRITICAL,
        lane=Lane.NORMAL,
        channels=(),
        deliver_by=now + timedelta(hours=1),
        useless_after=now + timedelta(hours=2),
        subject_key="",
        subject_version=0,
        labels={},
        create_time=now,
    )
    await NotificationStore(pool).accept(
        "t", [Draft(notification=made, request_id="", fingerprint=b"")]
    )
    async with PlanningStore(pool).chunk(Lane.NORMAL, now=now) as chunk:
        delivery = NewDelivery(
            id=new_id(), notification=chunk.tasks[0].notification, recipient="ada", channel="email"
        )
        chunk.deliveries.append(delivery)
    return ("t", made.id, delivery.id)
