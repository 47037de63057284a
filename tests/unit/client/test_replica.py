"""A device's copy: what shows, what waits, what undoes itself."""

from aerofusion.sync.v1 import frames_pb2 as frames
from aerofusion_client.replica import Verdict
from aerofusion_client.space import deleting, setting
from syncd.wire import deltas
from tests.scenarios.syncd.simulator import KEY, NAME, Device, Server, settle


def pair():
    server = Server()
    return server, Device(server, "a"), Device(server, "b")


def delta(server, after, end=None, **changed):
    changes = server.changes(after, server.slice.head_seq if end is None else end)
    message = deltas.delta(changes)
    for name, value in changed.items():
        setattr(message, name, value)
    return message


def followed():
    """A server with two changes, and a device that has seen the first."""
    server, device, other = pair()
    other.set("UA1", gate="A1")
    settle(server, [device, other])
    other.set("UA1", gate="B2")
    settle(server, [other])
    return server, device.replica


def test_a_change_shows_at_once_over_what_the_server_has():
    server, device, other = pair()
    other.set("UA1", gate="A1", status="late")
    settle(server, [device, other])
    device.cut()
    device.set("UA1", gate="B2")
    assert device.replica.get("UA1") == {"gate": "B2", "status": "late"}
    device.delete("UA1")
    assert device.replica.get("UA1") is None
    assert device.replica.ids() == []
    device.set("UA1", status="back")
    assert device.replica.get("UA1") == {"status": "back"}
    assert device.replica.ids() == ["UA1"]


def test_a_change_stays_in_view_until_the_cells_show_its_outcome():
    server, device, _ = pair()
    device.connect()
    settle(server, [device])
    device.set("UA1", gate="A1")
    device.step_up()
    device.step_down()
    assert device.results[1].seq == 1
    assert device.replica.cursor == 0
    assert device.replica.get("UA1") == {"gate": "A1"}
    settle(server, [device])
    assert device.replica.pending == {}


def test_a_refused_change_is_kept_for_the_app_and_shows_no_more():
    server, device, _ = pair()
    device.set("UA1", colour="red")
    device.set("UA1", gate="A1")
    settle(server, [device])
    assert device.view() == {"UA1": {"gate": "A1"}}
    (rejection,) = device.store.rejections(NAME)
    assert (rejection.number, rejection.reason) == (1, "FIELD_UNKNOWN")
    device.restart()
    assert device.view() == {"UA1": {"gate": "A1"}}


def test_a_delta_that_leaves_a_gap_is_not_taken():
    server, replica = followed()
    verdict, diff = replica.apply(delta(server, 2))
    assert (verdict, replica.cursor, diff.put) == (Verdict.GAP, 1, [])


def test_a_delta_that_overlaps_is_taken_once():
    server, replica = followed()
    old, new = delta(server, 0), delta(server, 1)
    assert replica.apply(new)[0] is Verdict.APPLIED
    verdict, diff = replica.apply(new)
    assert (verdict, diff.put) == (Verdict.APPLIED, [])
    assert replica.apply(old)[0] is Verdict.APPLIED
    assert replica.cursor == 2
    assert replica.get("UA1") == {"gate": "B2"}


def test_a_delta_of_another_life_of_the_space_is_not_taken():
    server, replica = followed()
    assert replica.apply(delta(server, 1, space_key=KEY + 1))[0] is Verdict.OLD


def test_a_copy_whose_hash_differs_has_diverged():
    server, replica = followed()
    number = replica.numbers["UA1"]
    replica.records[number].cells[1] = (1, b"\x01XX")
    replica.state_hash += 1
    assert replica.apply(delta(server, 1))[0] is Verdict.DIVERGED


def test_a_proof_for_another_place_proves_nothing():
    _, replica = followed()
    head = frames.Head(space_key=KEY, seq=2, state_hash=b"\x00" * 16)
    assert replica.prove(head) is Verdict.OLD


def test_a_changed_byte_in_the_store_is_found_and_healed():
    server, device, other = pair()
    other.set("UA1", gate="A1")
    settle(server, [device, other])
    device.store._db.execute("UPDATE cells SET value = CAST(x'015858' AS BLOB)")
    device.restart()
    assert device.view() == {"UA1": {"gate": "XX"}}
    settle(server, [device])
    assert device.view() == {"UA1": {"gate": "A1"}}
    assert device.machine.links[NAME].heals == 1


def test_several_operations_count_as_one_change():
    server, device, other = pair()
    device.write(setting("UA1", {"gate": "A1"}), setting("UA2", {"gate": "A2"}), deleting("UA1"))
    settle(server, [device, other])
    assert other.view() == {"UA2": {"gate": "A2"}}
    assert server.slice.head_seq == 1
