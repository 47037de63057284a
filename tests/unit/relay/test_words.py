"""What of the protocol's finer words the relay understands, and passes on."""

from gateway.compile.envoy_api import make, message_class
from gateway.relay.messages import parse_answer, serialise_answer
from gateway.relay.session import Ask, Keep, Session, ToEnvoy, ToGateway
from gateway.xds.resources import BY_KEY


CDS = BY_KEY["CDS"].type_url
RESPONSE = "envoy.service.discovery.v3.DeltaDiscoveryResponse"


def response(**fields):
    return make(RESPONSE, type_url=CDS, nonce="n", **fields).SerializeToString()


def living(version, *, content=True):
    fields = {"resource": {"type_url": CDS, "value": b""}} if content else {}
    return {"name": "a", "version": version, "ttl": {"seconds": 5}, **fields}


def online():
    session = Session(shelf={}, own={}, reserved={}, wildcards={CDS})
    session.on_connected()
    (introduced,) = session.on_ask(Ask(type_url=CDS))
    assert isinstance(introduced, ToGateway)
    return session


def answered(session, data):
    (sent,) = session.on_answer(parse_answer(data))
    assert isinstance(sent, ToEnvoy)
    return sent.answer, session.on_ask(Ask(type_url=CDS, nonce=sent.answer.nonce))


def kept(actions):
    return [one for one in actions if isinstance(one, Keep)]


def test_why_there_is_nothing_is_passed_on_as_it_was_said():
    problem = {"resource_name": {"name": "gone"}, "error_detail": {"code": 5, "message": "no"}}
    sent, _ = answered(online(), response(removed_resources=["gone"], resource_errors=[problem]))
    told = message_class(RESPONSE).FromString(serialise_answer(sent))
    (error,) = told.resource_errors
    assert (error.resource_name.name, error.error_detail.code) == ("gone", 5)


def test_a_heartbeat_reaches_envoy_and_not_the_shelf():
    session = online()
    _, actions = answered(session, response(resources=[living("1")]))
    (keep,) = kept(actions)
    assert (keep.items, keep.removed) == ((), ("a",))  # It ends unless the gateway is there.
    sent, actions = answered(session, response(resources=[living("1", content=False)]))
    told = message_class(RESPONSE).FromString(serialise_answer(sent))
    assert told.resources[0].ttl.seconds == 5
    assert not told.resources[0].HasField("resource")
    assert [keep.items for keep in kept(actions)] == [()]


def test_a_heartbeat_makes_nobody_hold_what_isnt_held():
    session = online()
    answered(session, response(resources=[living("1", content=False)]))
    session.on_lost()
    (introduced,) = session.on_connected()
    assert introduced.ask.held == {}
