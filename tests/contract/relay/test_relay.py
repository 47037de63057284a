"""What an Envoy behind the relay lives through."""

import asyncio
import dataclasses
import itertools
import time

import grpc
import grpc.aio

from gateway.compile.envoy_api import make, message_class
from gateway.relay.shelf import Shelf
from gateway.xds.feed import Flavour
from gateway.xds.resources import BY_KEY, resource


FIRST_ANSWER_WITHIN_S = 2.0
CHANGE_WITHIN_S = 5.0


async def until(condition, within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        for pause_s in itertools.chain([0.0], itertools.repeat(0.02)):
            await asyncio.sleep(pause_s)  # polls
            if await condition():
                return


def on_shelf(folder) -> dict[str, set[str]]:
    shelf = Shelf(folder)
    shelf.load()
    return {url.rpartition(".")[2]: set(table) for url, table in shelf.tables.items()}


async def test_without_gateway_an_envoy_starts_from_the_relays_disk(edge):
    """Gateway, Envoy and even the relay die together; then a change after all are back."""
    await until(lambda: shelved(edge, "RouteConfiguration"))
    edge.envoy.kill()
    await edge.gateway.stop()
    await edge.stop_relay()

    await edge.start_relay()
    edge.envoy.start()
    first_s = await edge.first_ok(within_s=FIRST_ANSWER_WITHIN_S)

    edge.gateway.publish(edge.config("second"))
    await edge.gateway.start()
    change_s = await edge.first_ok("second", within_s=CHANGE_WITHIN_S)
    stats = await edge.envoy.stats()
    print(f"first answer after {first_s:.2f} s, change after {change_s:.2f} s")  # noqa: T201
    assert stats["control_plane.connected_state"] == 1
    assert stats["cluster_manager.cluster_modified"] == 0, "nothing was sent that it had"
    assert stats["listener_manager.listener_modified"] == 0
    assert stats["cluster.relay.upstream_cx_total"] == 1, "one uninterrupted stream"


async def test_an_envoy_starts_from_the_disk_while_the_gateway_is_silent(edge):
    await until(lambda: shelved(edge, "RouteConfiguration"))
    edge.envoy.kill()
    await edge.gateway.stop()
    await edge.gateway.start_silent()

    edge.envoy.start()
    await edge.first_ok(within_s=FIRST_ANSWER_WITHIN_S + 2)

    await edge.gateway.stop()
    edge.gateway.publish(edge.config("second"))
    await edge.gateway.start()
    await edge.first_ok("second", within_s=CHANGE_WITHIN_S)


async def shelved(edge, kind: str) -> bool:
    return kind in await asyncio.to_thread(on_shelf, edge.settings.shelf_dir)


async def test_a_running_envoy_does_not_notice_that_the_gateway_goes_and_comes(edge):
    before = await edge.envoy.stats()
    await edge.gateway.stop()
    assert (await edge.get())[0] == 200
    edge.gateway.publish(edge.config("second"))
    await edge.gateway.start()
    await edge.first_ok("second", within_s=CHANGE_WITHIN_S)

    after = await edge.envoy.stats()
    for name in ("cluster.relay.upstream_cx_total", "listener_manager.listener_modified"):
        assert after[name] == before[name]
    assert (
        after["cluster_manager.cds.update_success"] == before["cluster_manager.cds.update_success"]
    )


async def test_an_envoy_survives_a_restart_of_its_relay(edge):
    await edge.stop_relay()
    assert (await edge.get())[0] == 200
    await edge.gateway.stop()
    await edge.start_relay()

    async def connected() -> bool:
        return (await edge.envoy.stats())["control_plane.connected_state"] == 1

    await until(connected)
    assert (await edge.get())[0] == 200
    edge.gateway.publish(edge.config("second"))
    await edge.gateway.start()
    await edge.first_ok("second", within_s=CHANGE_WITHIN_S)
    assert (await edge.envoy.stats())["cluster_manager.cluster_modified"] == 0


async def test_what_envoy_refuses_reaches_the_gateway_and_not_the_disk(edge):
    bad = make("envoy.config.cluster.v3.Cluster", name="bad", type="EDS")
    edge.gateway.publish(edge.config(), ("CDS", resource("bad", bad.SerializeToString())))

    async def refused() -> bool:
        verdicts = edge.gateway.feed.newest(Flavour.EDGE).of(BY_KEY["CDS"])
        stats = await edge.envoy.stats()
        return "bad" not in verdicts and stats["cluster_manager.cds.update_rejected"] > 0

    await until(refused)
    assert (await edge.get())[0] == 200

    async def kept() -> bool:
        shelf = await asyncio.to_thread(on_shelf, edge.settings.shelf_dir)
        return "Cluster" in shelf

    await until(kept)  # It is written a moment after it was accepted.
    shelf = await asyncio.to_thread(on_shelf, edge.settings.shelf_dir)
    assert shelf["Cluster"] == {"backend"}


async def test_what_lives_by_the_gateway_ends_with_it_and_is_not_on_the_disk(edge):
    ttl_s = 2.0
    cluster = make("envoy.config.cluster.v3.Cluster", name="fleeting").SerializeToString()
    fleeting = dataclasses.replace(resource("fleeting", cluster), ttl=ttl_s)
    edge.gateway.publish(edge.config(), ("CDS", fleeting))

    async def there() -> bool:
        return (await edge.envoy.stats())["cluster_manager.active_clusters"] == with_it

    with_it = (await edge.envoy.stats())["cluster_manager.active_clusters"] + 1
    await until(there)
    removed = (await edge.envoy.stats())["cluster_manager.cluster_removed"]
    end = time.monotonic() + 3 * ttl_s

    async def outlived() -> bool:
        return time.monotonic() > end

    await until(outlived)
    assert (await edge.envoy.stats())["cluster_manager.cluster_removed"] == removed
    shelf = await asyncio.to_thread(on_shelf, edge.settings.shelf_dir)
    assert shelf["Cluster"] == {"backend"}
    await edge.gateway.stop()

    async def gone() -> bool:
        return (await edge.envoy.stats())["cluster_manager.cluster_removed"] > removed

    await until(gone)
    assert (await edge.get())[0] == 200


async def test_why_something_is_not_there_is_told_through_the_relay(edge):
    service = "envoy.service.discovery.v3"
    request = make(
        f"{service}.DeltaDiscoveryRequest",
        node={"id": "edge", "user_agent_name": "envoy"},
        type_url=BY_KEY["CDS"].type_url,
        resource_names_subscribe=["gone"],
    )
    async with grpc.aio.insecure_channel(f"unix:{edge.settings.socket}") as channel:
        call = delta(channel)
        await call.write(request.SerializeToString())
        answer = message_class(f"{service}.DeltaDiscoveryResponse").FromString(await call.read())
        call.cancel()
    (error,) = answer.resource_errors
    assert (error.resource_name.name, error.error_detail.code) == ("gone", 5)


async def test_what_was_deleted_is_not_brought_back_by_the_disk(edge):
    extra = make(
        "envoy.config.cluster.v3.Cluster",
        name="extra",
        type="STATIC",
        connect_timeout={"seconds": 1},
    )
    edge.gateway.publish(edge.config(), ("CDS", resource("extra", extra.SerializeToString())))
    wanted = {"backend", "extra"}

    async def kept() -> bool:
        shelf = await asyncio.to_thread(on_shelf, edge.settings.shelf_dir)
        return shelf.get("Cluster") == wanted

    await until(kept)
    edge.envoy.kill()
    edge.gateway.publish(edge.config())
    edge.envoy.start()
    await edge.first_ok()
    wanted = {"backend"}
    await until(kept)


async def test_a_rotated_certificate_is_what_envoy_shows_from_then_on(edge):
    _, _, serial = await edge.get()
    shown = int(serial, 16)
    await edge.workload.renew()

    async def rotated() -> bool:
        return int((await edge.get())[2], 16) != shown

    await until(rotated)
    stats = await edge.envoy.stats()
    assert stats["listener_manager.listener_modified"] == 0
    assert stats["cluster_manager.cluster_modified"] == 0


async def test_private_keys_and_sockets_are_the_owners_alone(edge):
    shelf = "".join(
        path.read_bytes().decode("latin-1")
        for path in (edge.settings.shelf_dir).rglob("*")
        if path.is_file()
    )
    assert "PRIVATE KEY" not in shelf
    assert edge.settings.socket.parent.stat().st_mode & 0o777 == 0o700
    for path in edge.settings.identity_dir.rglob("*"):
        assert path.is_symlink() or path.stat().st_mode & 0o077 == 0


async def test_a_local_grpc_client_reads_its_configuration_through_the_pipe(edge):
    cluster = make("envoy.config.cluster.v3.Cluster", name="notifier").SerializeToString()
    snapshot = edge.gateway.feed.newest(Flavour.PROXYLESS).changed(
        1, [("CDS", resource("notifier", cluster))]
    )
    edge.gateway.feed.publish(Flavour.PROXYLESS, snapshot)
    request = make(
        "envoy.service.discovery.v3.DiscoveryRequest",
        node={"id": "client", "user_agent_name": "gRPC C-core"},
        type_url=BY_KEY["CDS"].type_url,
        resource_names=["notifier"],
    )
    method = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
    async with grpc.aio.insecure_channel(f"unix:{edge.settings.socket}") as channel:
        call = channel.stream_stream(method)()
        await call.write(request.SerializeToString())
        answer = message_class("envoy.service.discovery.v3.DiscoveryResponse").FromString(
            await call.read()
        )
        assert [any_.value for any_ in answer.resources] == [cluster]

        await edge.gateway.stop()
        assert await call.code() is not grpc.StatusCode.OK


def delta(channel):
    service = "envoy.service.discovery.v3.AggregatedDiscoveryService"
    return channel.stream_stream(f"/{service}/DeltaAggregatedResources")()


async def test_streams_that_say_nothing_or_nonsense_are_ended(edge):
    async with grpc.aio.insecure_channel(f"unix:{edge.settings.socket}") as channel:
        silent, noisy = delta(channel), delta(channel)
        await noisy.write(b"\xff\xff\xff")

        assert await noisy.read() is grpc.aio.EOF
        assert await silent.read() is grpc.aio.EOF
    assert (await edge.get())[0] == 200


async def test_streams_are_bounded(edge):
    async with grpc.aio.insecure_channel(f"unix:{edge.settings.socket}") as channel:
        request = make(
            "envoy.service.discovery.v3.DeltaDiscoveryRequest",
            type_url=BY_KEY["CDS"].type_url,
            node={"id": "edge-1", "user_agent_name": "envoy"},
        ).SerializeToString()
        taken = []
        for _ in range(3):  # Envoy itself has the fourth.
            call = delta(channel)
            await call.write(request)
            assert await call.read()
            taken.append(call)
        one_more = delta(channel)

        assert await one_more.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        for call in taken:
            call.cancel()
    assert (await edge.get())[0] == 200
