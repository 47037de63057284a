"""`Explain` as operators call it: objects, revisions, and configurations of the past."""

import json

import grpc
import pytest
from google.protobuf import struct_pb2

from aerofusion.gateway.v1 import catalog_service_pb2 as catalog_rpc
from aerofusion.gateway.v1 import (
    catalog_service_pb2_grpc,
    explain_service_pb2_grpc,
    route_pb2,
    service_pb2,
)
from aerofusion.gateway.v1 import explain_service_pb2 as rpc
from tests.fixtures.echo import SERVICE, descriptor_set


ROUTE = "services/echo/routes/open"
PATH = f"/{SERVICE}/Echo"


@pytest.fixture
async def explain(operator):
    return explain_service_pb2_grpc.ExplainServiceStub(operator)


@pytest.fixture
async def catalog(operator):
    """A catalog of two revisions: a service, and a route by which everyone may call it."""
    stub = catalog_service_pb2_grpc.CatalogServiceStub(operator)
    service = service_pb2.Service(
        name="services/echo",
        identity="echo",
        grpc_services=[SERVICE],
        json_prefixes=["echo"],
        descriptor_set=descriptor_set(),
        endpoints=[service_pb2.Endpoint(address="127.0.0.1", port=9)],
    )
    await stub.UpdateService(catalog_rpc.UpdateServiceRequest(service=service, allow_missing=True))
    route = route_pb2.Route(
        name=ROUTE,
        match=route_pb2.RouteMatch(grpc_service=SERVICE, grpc_method="Echo"),
        destinations=[route_pb2.Destination(service="services/echo", weight=1)],
        access=service_pb2.Access(public=True),
    )
    await stub.UpdateRoute(catalog_rpc.UpdateRouteRequest(route=route, allow_missing=True))
    return stub


async def asked(explain, revision, **more):
    """Ask until this replica has followed to *revision*."""
    call = rpc.CallDescription(path=PATH, body=rpc.CallDescription.BODY_GRPC)
    given = {"call": call, **more}
    while True:
        answer = await explain.Explain(rpc.ExplainRequest(**given))
        if answer.revision >= revision:
            return answer


async def test_each_step_names_the_object_and_the_revision_that_decided(explain, catalog):
    answer = await asked(explain, 2)
    assert answer.certain
    assert answer.answer.source == rpc.ExpectedAnswer.SOURCE_SERVICE
    steps = {step.stage: step for step in answer.steps}
    assert (steps["route"].object, steps["route"].revision) == (ROUTE, 2)
    assert (steps["cluster"].object, steps["cluster"].revision) == ("services/echo", 1)
    assert steps["route"].actor
    assert answer.route == ROUTE
    assert answer.endpoints[0].address == "127.0.0.1:9"


async def test_the_past_is_evaluated_as_it_was(explain, catalog):
    await asked(explain, 2)
    call = rpc.CallDescription(path=PATH, body=rpc.CallDescription.BODY_GRPC)
    before = await explain.Explain(rpc.ExplainRequest(call=call, revision=1))
    assert before.revision == 1
    assert before.route == ""
    assert before.answer.grpc_status == 16
    assert before.answer.details == "jwt_authn_access_denied{Jwt_is_missing}"


async def test_a_log_line_is_explained_by_the_revision_of_its_time(explain, catalog):
    listed = await catalog.ListRevisions(catalog_rpc.ListRevisionsRequest(page_size=10))
    first = listed.revisions[-1].create_time.ToJsonString()
    record = {
        "http.request.method": "POST",
        "url.path": PATH,
        "http.response.status_code": "200",
        "rpc.grpc.status": "Unauthenticated",
        "content_type": "application/grpc",
        "details": "jwt_authn_access_denied{Jwt_is_missing}",
        "flags": "-",
    }
    line = json.dumps({"time": first, "attributes": record})
    answer = await explain.Explain(rpc.ExplainRequest(log_line=line))
    assert answer.revision == 1
    assert list(answer.log.differences) == []
    assert answer.log.meanings
    answer = await explain.Explain(rpc.ExplainRequest(log_line=line, revision=2))
    assert len(answer.log.differences) == 1


async def test_claims_are_taken_as_good_and_a_token_is_checked(explain, catalog):
    await asked(explain, 2)
    call = rpc.CallDescription(path="/echo/v1/ticks/t", method="GET")
    claims = struct_pb2.Struct()
    claims.update({"sub": "passengers/p1", "roles": ["passenger"]})
    answer = await explain.Explain(rpc.ExplainRequest(call=call, claims=claims))
    assert answer.answer.source == rpc.ExpectedAnswer.SOURCE_SERVICE
    assert answer.grpc_method == f"{SERVICE}/Ticks"
    answer = await explain.Explain(rpc.ExplainRequest(call=call, token="a.b.c"))
    assert answer.answer.http_status == 401


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (rpc.ExplainRequest(), grpc.StatusCode.INVALID_ARGUMENT),
        (rpc.ExplainRequest(log_line="nothing"), grpc.StatusCode.INVALID_ARGUMENT),
        (
            rpc.ExplainRequest(call=rpc.CallDescription(path="/x", remote_address="here")),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        (
            rpc.ExplainRequest(call=rpc.CallDescription(path="/x"), revision=99),
            grpc.StatusCode.NOT_FOUND,
        ),
    ],
)
async def test_what_cannot_be_explained_is_refused(explain, request_, code):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await explain.Explain(request_)
    assert caught.value.code() is code
