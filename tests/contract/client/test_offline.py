"""A device that loses its server, goes on, and comes back into step. Real parts throughout."""

import asyncio
from datetime import UTC, datetime

import pytest

from aerofusion_client import InvalidValue, SyncClient
from tests.contract.client.conftest import BOARD, SOON, create_board, started
from tests.contract.syncd.conftest import PASSENGER


NO_ZONE = datetime(2013, 1, 1, tzinfo=UTC).replace(tzinfo=None)


async def changed(space, record, field, value):
    """Wait until a field has a value."""
    changes = space.changes()
    waiting = asyncio.ensure_future(anext(changes))
    while (space.get(record) or {}).get(field) != value:
        await waiting
        waiting = asyncio.ensure_future(anext(changes))
    waiting.cancel()


async def test_a_change_on_one_device_shows_on_the_other(device):
    one, two = [await device(name) for name in ("one", "two")]
    mine, theirs = one.follow(BOARD), two.follow(BOARD)
    await theirs.synced()
    at = datetime(2013, 3, 4, 5, 6, 7, 890, tzinfo=UTC)
    values = {"gate": "B2", "delay_minutes": 25, "scheduled": at, "load": 0.5, "boarding": True}
    await mine.set("UA1", values)
    await changed(theirs, "UA1", "gate", "B2")
    assert theirs.get("UA1") == values


async def test_changes_are_told_from_the_moment_that_they_are_asked_for(device):
    one, two = [await device(name) for name in ("one", "two")]
    mine, theirs = one.follow(BOARD), two.follow(BOARD)
    await mine.synced()
    changes = mine.changes()
    await theirs.set("UA1", {"gate": "B2"})
    await changed(mine, "UA1", "gate", "B2")
    assert await anext(changes) == {"UA1"}


async def test_what_was_changed_offline_counts_at_once_and_arrives_later(device):
    one, two = [await device(name) for name in ("one", "two")]
    mine, theirs = one.follow(BOARD), two.follow(BOARD)
    await mine.synced()
    await one.go_offline()
    for minutes in range(50):
        await mine.set("UA1", {"delay_minutes": minutes})
    assert mine.get("UA1") == {"delay_minutes": 49}
    assert mine.pending == 50
    one.go_online()
    await mine.synced()
    await changed(theirs, "UA1", "delay_minutes", 49)
    assert mine.pending == 0


async def test_a_device_that_was_away_catches_up_with_what_others_did(device):
    one, two = [await device(name) for name in ("one", "two")]
    mine, theirs = one.follow(BOARD), two.follow(BOARD)
    await mine.set("UA1", {"gate": "A1"})
    await mine.set("UA2", {"gate": "A2"})
    await mine.synced()
    await changed(theirs, "UA2", "gate", "A2")
    await two.go_offline()
    await mine.delete("UA1")
    await mine.set("UA3", {"gate": "A3"})
    await mine.synced()
    two.go_online()
    await changed(theirs, "UA3", "gate", "A3")
    assert theirs.records() == mine.records() == {"UA2": {"gate": "A2"}, "UA3": {"gate": "A3"}}


async def test_two_devices_that_were_apart_agree_afterwards(device):
    clients = [await device(name) for name in ("one", "two", "three")]
    spaces = [client.follow(BOARD) for client in clients]
    for space in spaces:
        await space.synced()
    for number, (client, space) in enumerate(zip(clients, spaces, strict=True)):
        await client.go_offline()
        await space.set("UA1", {"gate": f"G{number}"})
        await space.set(f"UA1{number}", {"status": "late"})
    for client in clients:
        client.go_online()
    for space in spaces:
        await space.synced()
    for space in spaces:
        await changed(space, "UA1", "gate", "G2")
        await changed(space, "UA12", "status", "late")
    assert spaces[0].records() == spaces[1].records() == spaces[2].records()


async def test_a_device_that_is_started_again_has_its_data_and_its_changes(device, tmp_path):
    one = await device("one")
    mine = one.follow(BOARD)
    await mine.set("UA1", {"gate": "A1"})
    await mine.synced()
    await one.go_offline()
    await mine.set("UA2", {"gate": "A2"})
    await one.close()
    again = await device("one")
    assert again.device_id == one.device_id
    mine = again.follow(BOARD)
    assert mine.records() == {"UA1": {"gate": "A1"}, "UA2": {"gate": "A2"}}
    await mine.synced()
    assert mine.pending == 0


async def test_a_store_that_was_damaged_is_healed(device, tmp_path):
    import sqlite3

    one = await device("one")
    mine = one.follow(BOARD)
    await mine.set("UA1", {"gate": "A1"})
    await mine.synced()
    await one.close()
    with sqlite3.connect(tmp_path / "one.db") as db:
        db.execute("UPDATE cells SET value = CAST(x'015858' AS BLOB)")
    db.close()
    again = await device("one")
    mine = again.follow(BOARD)
    assert mine.get("UA1") == {"gate": "XX"}
    await changed(mine, "UA1", "gate", "A1")
    await mine.synced()
    assert mine.heals == 1


async def test_a_refused_change_undoes_itself_and_holds_up_nothing(device):
    one = await device("one")
    mine = one.follow(BOARD)
    await mine.set("UA1", {"colour": "red"})
    await mine.set("UA1", {"gate": "A1"})
    await mine.synced()
    assert mine.get("UA1") == {"gate": "A1"}
    (rejection,) = mine.rejections()
    assert rejection.reason == "FIELD_UNKNOWN"
    mine.dismiss(rejection)
    assert mine.rejections() == []


async def test_a_reader_s_change_waits_and_is_told_why(syncd, tmp_path):
    await create_board(syncd)

    class AsPassenger:
        """A channel as through the edge: with a passenger's token."""

        def __getattr__(self, name):
            make = getattr(syncd.channel("edge"), name)

            def with_token(*args, **kwargs):
                call = make(*args, **kwargs)
                return lambda *a, **k: call(*a, **{**k, "metadata": PASSENGER})

            return with_token

    async with SyncClient(channel=AsPassenger(), store=":memory:", backoff=SOON) as client:
        board = client.follow(BOARD)
        await board.synced()
        await board.set("UA1", {"gate": "mine"})
        assert not board.is_synced
        assert board.get("UA1") == {"gate": "mine"}


async def test_a_change_no_field_can_hold_is_refused_on_the_device(device):
    mine = (await device("one")).follow(BOARD)
    for bad in (float("nan"), 2**63, NO_ZONE, "x" * 70_000, object()):
        with pytest.raises(InvalidValue):
            await mine.set("UA1", {"gate": bad})
    assert mine.records() == {}


async def test_a_space_made_later_is_followed_then(syncd, tmp_path, monkeypatch):
    monkeypatch.setattr("aerofusion_client.protocol.SUBSCRIBE_AGAIN_S", 0.05)
    channel = syncd.channel("flightinfo")
    async with SyncClient(channel=channel, store=":memory:", backoff=SOON) as client:
        board = client.follow(BOARD)
        await board.set("UA1", {"gate": "A1"})
        await create_board(syncd)
        await board.synced()
        assert board.get("UA1") == {"gate": "A1"}


async def test_a_server_that_stops_and_comes_back_loses_and_doubles_nothing(
    run_serve, ca, dsn, tmp_path
):
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    peer = ca.workload("flightinfo")
    channel = peer.channel(listen.replace("127.0.0.1", "localhost"), service="syncd")
    async with SyncClient(channel=channel, store=tmp_path / "d.db", backoff=SOON) as client:
        board = client.follow(BOARD)
        for round_number in range(3):
            async with started(run_serve, ca, dsn, listen=listen) as syncd:
                if round_number == 0:
                    await create_board(syncd)
                writing = [board.set(f"UA{n}", {"delay_minutes": round_number}) for n in range(30)]
                await asyncio.gather(*writing)
                if round_number == 2:
                    await board.synced()
        assert board.cursor == 90
        assert board.heals == 0
    await channel.close()
