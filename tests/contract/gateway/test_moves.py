"""What only one object can have moves to another in one change, whichever way round they come."""

import grpc
import pytest
from google.protobuf import json_format

from aerofusion.gateway.v1 import config_service_pb2 as rpc
from aerofusion.gateway.v1 import config_service_pb2_grpc as stubs
from aerofusion.gateway.v1 import object_pb2
from gateway.validation.rules import ISSUERS_MAX
from meshkit.errors import MeshError
from meshkit.status import from_rpc_error
from tests.fixtures.issuers import Foreign


KEYS = Foreign("any").jwks()


def service(name, *offered):
    return {"service": {"name": f"services/{name}", "grpc_services": list(offered)}}


def route(name, offered):
    match = {"grpc_service": offered, "grpc_method": "Get"}
    answer = {"status": 503}
    return {"route": {"name": f"services/{name}", "match": match, "direct_response": answer}}


def issuer(name, says=""):
    given = {"issuer": f"https://{says or name}.example", "jwks": KEYS, "tenant": "nyc"}
    more = {"audiences": ["airport"], "roles": ["passenger"]}
    return {"issuer": {"name": f"issuers/{name}", **given, **more}}


def host(name, *domains):
    answer = {"status": 200}
    rules = [{"id": "all", "direct_response": answer}]
    return {"host": {"name": f"hosts/{name}", "domains": list(domains), "rules": rules}}


@pytest.fixture
async def apply(operator):
    config = stubs.ConfigServiceStub(operator)

    async def applied(*objects, deletes=()):
        wanted = rpc.ChangeSet(
            objects=[json_format.ParseDict(one, object_pb2.Object()) for one in objects],
            deletes=deletes,
        )
        try:
            await config.ApplyChange(rpc.ApplyChangeRequest(change_set=wanted))
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        listed = await config.ListObjects(rpc.ListObjectsRequest(page_size=100))
        return [getattr(one, one.WhichOneof("kind")) for one in listed.objects]

    return applied


async def refused(call):
    with pytest.raises(MeshError) as caught:
        await call
    return caught.value


def named(one):
    """What stands in the issuer of `issuer`."""
    return one.issuer.removeprefix("https://").removesuffix(".example")


PAIRS = {
    "grpc services": (service, lambda one: one.grpc_services[0], ("t.v1.One", "t.v1.Other")),
    "issuers": (issuer, named, ("one", "other")),
    "domains": (host, lambda one: one.domains[0], ("one.example", "other.example")),
}


@pytest.fixture(params=PAIRS)
def pair(request):
    return PAIRS[request.param]


async def test_two_objects_exchange_what_they_have(apply, pair):
    made, has, (one, other) = pair
    assert [has(found) for found in await apply(made("a", one), made("b", other))] == [one, other]
    assert [has(found) for found in await apply(made("a", other), made("b", one))] == [other, one]


@pytest.mark.parametrize(("goes", "comes"), [("a", "b"), ("b", "a")])
async def test_one_that_comes_takes_what_one_that_goes_had(apply, pair, goes, comes):
    made, has, (one, _) = pair
    (before,) = await apply(made(goes, one))
    (found,) = await apply(made(comes, one), deletes=[before.name])
    assert (has(found), found.name) == (one, before.name.replace(f"/{goes}", f"/{comes}"))


@pytest.mark.parametrize(("gives", "takes"), [("a", "b"), ("b", "a")])
async def test_one_takes_what_the_other_gives_up(apply, pair, gives, takes):
    made, has, (one, other) = pair
    await apply(made(gives, one))
    found = {each.name[-1]: has(each) for each in await apply(made(takes, one), made(gives, other))}
    assert found == {takes: one, gives: other}


async def test_what_stays_where_it_was_is_not_taken(apply, pair):
    made, _, (one, other) = pair
    await apply(made("a", one), made("b", other))
    error = await refused(apply(made("c", one), made("b", "third.v1.one")))
    assert error.reason in {"GRPC_SERVICE_TAKEN", "ISSUER_TAKEN", "DOMAIN_TAKEN"}


async def test_a_route_goes_with_what_it_is_about(apply):
    await apply(service("a", "t.v1.One", "t.v1.Other"), route("a/routes/r", "t.v1.One"))
    error = await refused(apply(service("a", "t.v1.Other")))
    assert (error.reason, error.metadata["object"]) == ("SERVICE_IN_USE", "services/a")
    (left,) = await apply(service("a", "t.v1.Other"), deletes=["services/a/routes/r"])
    assert list(left.grpc_services) == ["t.v1.Other"]


async def test_a_route_changes_with_what_it_is_about(apply):
    await apply(service("a", "t.v1.One"), route("a/routes/r", "t.v1.One"))
    _, found = await apply(service("a", "t.v1.Other"), route("a/routes/r", "t.v1.Other"))
    assert found.match.grpc_service == "t.v1.Other"


async def test_where_there_is_no_more_room_one_comes_as_another_goes(apply):
    all_of_them = [issuer(f"i{number}") for number in range(ISSUERS_MAX)]
    await apply(*all_of_them)
    assert (await refused(apply(issuer("more")))).reason == "CATALOG_FULL"
    found = await apply(issuer("more"), deletes=["issuers/i0"])
    assert len(found) == ISSUERS_MAX
