"""The bus of hints, on a real NATS server with TLS."""

import asyncio

from meshkit.bus import open_bus


async def heard(bus, received):
    """Publish until a hint arrives: they may be lost, so one is no proof."""
    async with asyncio.timeout(20):
        while not received.is_set():
            bus.publish("news.gate", b"B22")
            try:
                async with asyncio.timeout(0.05):
                    await received.wait()
            except TimeoutError:
                continue


async def test_a_hint_reaches_a_subscriber_of_another_process(ca, nats_server):
    received = asyncio.Event()
    async with (
        open_bus(nats_server.url, ca.workload("notifier")) as sender,
        open_bus(nats_server.url, ca.workload("syncd")) as receiver,
    ):
        await receiver.subscribe("news.*", lambda data: received.set() if data == b"B22" else None)
        await heard(sender, received)

    assert received.is_set()


async def test_without_a_server_hints_are_dropped_and_nobody_waits(ca):
    async with open_bus("tls://127.0.0.1:1", ca.workload("notifier")) as bus:
        bus.publish("news.gate", b"B22")

        assert not bus.connected


async def test_hints_flow_again_after_the_server_was_killed(ca, own_nats_server):
    received = asyncio.Event()
    async with open_bus(own_nats_server.url, ca.workload("syncd")) as bus:
        await bus.subscribe("news.gate", lambda _: received.set())
        await heard(bus, received)
        own_nats_server.kill()
        bus.publish("news.gate", b"lost")
        own_nats_server.start()
        received.clear()
        await heard(bus, received)

        assert bus.connected
