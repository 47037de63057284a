"""
Faults under the day's load: recovery without help, and nothing acknowledged is lost.

Most of them happen to the session's mesh, whose day goes on: what other tests see after them is what
users would.
"""

import asyncio
import os
import signal
import socket
import time
from pathlib import Path

import grpc
import pytest

from aerofusion.notify.v1 import notification_service_pb2 as notify
from aerofusion.notify.v1 import notification_service_pb2_grpc as notify_grpc
from tests.fixtures.producer import WAITING, Producer
from tests.fixtures.waiting import until


pytestmark = [pytest.mark.e2e, pytest.mark.timeout(540)]

FIRST_200_WITHIN_S = 2.0
CHANGE_WITHIN_S = 5.0


EDGE = ("preflight", "relay", "envoy")


def without(*parts):
    return [word for part in parts for word in ("--without", part)]


def running(mesh, name):
    row = mesh.part(name)
    return row["phase"] == "ready"


async def test_gateway_and_envoy_killed_together_come_back_from_the_relay_in_time(mesh):
    """Envoy restarts from the relay's disk; then the gateway, and a change is served."""
    token = await asyncio.to_thread(mesh.token, "operators/ada", "operator", "")
    status = await asyncio.to_thread(mesh.status)
    parts = {row["name"]: row for row in status["parts"]}
    address = status["edge"]["url"].removeprefix("https://")

    for name in ("gateway", "envoy"):
        os.kill(parts[name]["pid"], signal.SIGKILL)
    killed = time.monotonic()
    first = await first_answer(mesh, address, token)

    assert first - killed <= FIRST_200_WITHIN_S
    await asyncio.to_thread(until, lambda: running(mesh, "gateway"), "the gateway", within_s=30)
    began = time.monotonic()
    await asyncio.to_thread(
        mesh.meshctl, "service", "create", "late", "--endpoint", "127.0.0.1:9",
        "--grpc-service", "test.Late",
    )  # fmt: skip
    await answered_differently(mesh, address, token)
    assert time.monotonic() - began <= CHANGE_WITHIN_S


async def first_answer(mesh, address, token):
    """When the edge first answers a call with OK."""
    credentials = grpc.ssl_channel_credentials(root_certificates=mesh.roots_pem)
    metadata = (("authorization", f"Bearer {token}"),)
    request = notify.ListNotificationsRequest(parent="tenants/nyc", page_size=1)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        async with grpc.aio.secure_channel(address, credentials) as channel:
            try:
                await notify_grpc.NotificationServiceStub(channel).ListNotifications(
                    request, metadata=metadata, timeout=1
                )
            except grpc.aio.AioRpcError:
                continue
            return time.monotonic()
    raise AssertionError("the edge did not come back")


async def answered_differently(mesh, address, token):
    """Wait until the new service has a route: no longer UNIMPLEMENTED, but no endpoint either."""
    credentials = grpc.ssl_channel_credentials(root_certificates=mesh.roots_pem)
    async with grpc.aio.secure_channel(address, credentials) as channel:
        call = channel.unary_unary("/test.Late/Anything")
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                await call(b"", metadata=(("authorization", f"Bearer {token}"),), timeout=1)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE:
                    return
    raise AssertionError("the change did not arrive")


def test_a_port_already_taken_is_named(own_mesh, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(AssertionError, match=str(port)):
            own_mesh("--no-demo", "--port-edge", str(port))


def test_a_setting_that_does_not_exist_is_named_and_all_is_stopped(own_mesh):
    with pytest.raises(AssertionError, match="NOTIFIER_WORKRES"):
        own_mesh(
            *("--no-demo", "--set", "NOTIFIER_WORKRES=4"),
            *without(*EDGE, "telemetry", "deadman", "mailsink", "syncd", "nats"),
        )


def test_a_telemetry_that_stands_still_is_told_of_by_who_watches_it(own_mesh):
    mesh = own_mesh(
        *("--no-demo", "--set", "DEADMAN_STALLED_AFTER=2", "--set", "DEADMAN_INTERVAL=0.5"),
        *without(*EDGE, "notifier", "syncd", "nats"),
    )
    watcher, mails = mesh.state / "logs/deadman.log", mesh.state / "mailsink/maildir/new"
    # Before, it makes allowance for a start.
    until(lambda: "telemetry_heard" in watcher.read_text(), "the watcher to hear of it")
    stopped = mesh.part("telemetry")["pid"]
    os.kill(stopped, signal.SIGSTOP)
    try:
        until(
            lambda: any(b"Alerting itself stands still" in p.read_bytes() for p in mails.iterdir()),
            "a mail to the duty manager",
            within_s=60,
        )
    finally:
        os.kill(stopped, signal.SIGCONT)


def test_a_second_up_on_the_same_state_is_refused_in_words(mesh):
    run = mesh.meshctl("up", "--detach", check=False)

    assert run.returncode == 75
    assert "Try:" in run.stderr


@pytest.mark.parametrize(
    "part",
    ["notifier", "syncd", "telemetry", "gateway", "relay", "envoy", "postgres", "nats"],
)
async def test_a_part_killed_under_load_comes_back_and_nothing_acknowledged_is_lost(mesh, part):
    producer = await asyncio.to_thread(Producer, mesh)
    producing = asyncio.create_task(producer.run())
    await acknowledged(producer, 20)

    await asyncio.to_thread(mesh.kill, part)
    await acknowledged(producer, 20)
    producer.stop()
    await producing

    assert await producer.lost() == []
    assert set(producer.refused) <= WAITING


async def acknowledged(producer, more):
    """Return once *more* notifications have been acknowledged."""
    enough = len(producer.acknowledged) + more
    await asyncio.to_thread(
        until, lambda: len(producer.acknowledged) >= enough, "acknowledgements", within_s=60
    )


def test_a_mesh_that_stops_leaves_nothing_running_and_finds_its_data_again(mesh):
    mesh.meshctl(
        "service", "create", "kept", "--endpoint", "127.0.0.1:9", "--grpc-service", "test.Kept"
    )  # fmt: skip
    pids = [row["pid"] for row in mesh.status()["parts"]]
    mesh.down()

    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert mesh.up()["ready"]
    assert "test.Kept" in mesh.meshctl("service", "get", "kept", "--json").stdout


async def test_the_day_goes_on_after_all_that(mesh):
    def mails():
        counts = mesh.glance()["counts"]
        return counts.get("mailsink", {}).get("counts", {}).get("mails", 0)

    before = await asyncio.to_thread(mails)

    await asyncio.to_thread(until, lambda: mails() > before, "more mails", within_s=120)
