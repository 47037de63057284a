"""Responses as bytes: shared among streams, and whole for each."""

from gateway.compile.envoy_api import message_class
from gateway.xds import wire
from gateway.xds.resources import BY_KEY, resource
from gateway.xds.subscription import Push


CDS = BY_KEY["CDS"]
ITEMS = (resource("a", b"1"), resource("b", b"2"))


def push(**fields):
    return Push(kind=CDS, version="v", **fields)


def test_delta_responses_differ_in_the_nonce_alone():
    read = message_class(f"{wire.DISCOVERY}.DeltaDiscoveryResponse").FromString
    one = read(wire.write_delta(push(nonce="1", upserts=ITEMS, removals=("c",))))
    two = read(wire.write_delta(push(nonce="2", upserts=ITEMS, removals=("c",))))
    assert (one.nonce, two.nonce) == ("1", "2")
    assert [(r.name, r.version) for r in two.resources] == [(r.name, r.version) for r in ITEMS]
    assert [r.resource.value for r in two.resources] == [b"1", b"2"]
    assert {r.resource.type_url for r in two.resources} == {two.type_url} == {CDS.type_url}
    assert list(two.removed_resources) == ["c"]
    assert two.system_version_info == "v"
    two.nonce = "1"
    assert one == two


def test_responses_with_other_contents_are_others():
    read = message_class(f"{wire.DISCOVERY}.DeltaDiscoveryResponse").FromString
    wire.write_delta(push(nonce="1", upserts=ITEMS))
    other = read(wire.write_delta(push(nonce="1", upserts=(resource("a", b"3"),))))
    assert [r.resource.value for r in other.resources] == [b"3"]


def test_state_of_the_world_responses_list_the_contents():
    read = message_class(f"{wire.DISCOVERY}.DiscoveryResponse").FromString
    made = read(wire.write_sotw(push(nonce="7", upserts=ITEMS)))
    assert (made.nonce, made.version_info, made.type_url) == ("7", "v", CDS.type_url)
    assert [one.value for one in made.resources] == [b"1", b"2"]


def test_an_error_without_a_text_is_an_error():
    message = message_class(f"{wire.DISCOVERY}.DeltaDiscoveryRequest")()
    assert not wire.read_delta(message).error
    message.error_detail.SetInParent()
    assert wire.read_delta(message).error
