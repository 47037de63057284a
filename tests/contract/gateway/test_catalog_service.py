"""The catalog's API on a real PostgreSQL, over the operator's socket."""

import grpc
import pytest
import pytest_asyncio
from google.protobuf import field_mask_pb2

from aerofusion.gateway.v1 import catalog_service_pb2 as rpc
from aerofusion.gateway.v1 import catalog_service_pb2_grpc as stubs
from aerofusion.gateway.v1 import revision_pb2, route_pb2, service_pb2
from meshkit.status import from_rpc_error
from tests.contract.gateway.conftest import gateways
from tests.fixtures.echo import SERVICE, descriptor_set


ECHO = "services/echo"
KNOWN = "services/known"


def service(**fields):
    return service_pb2.Service(
        **{
            "grpc_services": [SERVICE],
            "endpoints": [service_pb2.Endpoint(address="127.0.0.1", port=5000)],
            **fields,
        }
    )


def route(**fields):
    return route_pb2.Route(
        **{
            "match": route_pb2.RouteMatch(grpc_service=SERVICE),
            "destinations": [route_pb2.Destination(service=ECHO, weight=1)],
            **fields,
        }
    )


@pytest.fixture
async def catalog(operator):
    return stubs.CatalogServiceStub(operator)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared(postgres, ca):
    """A catalog that refuses whatever it is told by those who share it; it holds a service only."""
    async with gateways(postgres, ca) as start, start() as (settings, _):
        address = f"unix:{settings.unix_socket}"
        async with grpc.aio.insecure_channel(address) as channel:
            made = stubs.CatalogServiceStub(channel)
            await create(made, "known", descriptor_set=descriptor_set())
            yield made


async def create(catalog, name="echo", request_id="", **fields):
    request = rpc.CreateServiceRequest(
        service_id=name, service=service(**fields), request_id=request_id
    )
    return (await catalog.CreateService(request)).service


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def test_a_created_service_is_there_with_its_defaults(catalog):
    made = await create(catalog)
    assert made.name == ECHO
    assert made.identity == "echo"
    assert made.unary_timeout.seconds == 30
    assert made.endpoints[0].weight == 1
    got = await catalog.GetService(rpc.GetServiceRequest(name=made.name))
    assert got.service == made


async def test_everything_told_of_a_service_and_a_route_is_kept(catalog):
    await create(catalog, "other", grpc_services=[])
    told = service(
        description="says what it hears",
        identity="parrot",
        json_prefixes=["echo", "parrot"],
        descriptor_set=descriptor_set(),
        access=service_pb2.Access(roles=["operator"]),
        unary_timeout={"seconds": 3, "nanos": 500_000_000},
        stream_idle_timeout={"seconds": 7},
        rate_limit=service_pb2.RateLimit(burst=2, per_second=1),
        concurrency=service_pb2.ConcurrencyLimits(
            requests_max=9, pending_max=8, connections_max=7, retry_budget_percent=30
        ),
        load_balancing={"policy": "POLICY_MAGLEV", "hash_key": {"header": "x-shard"}},
        health_check={
            "interval": {"seconds": 2},
            "timeout": {"seconds": 1},
            "unhealthy_threshold": 3,
            "healthy_threshold": 2,
            "grpc_service": "",
        },
        protocol=service_pb2.PROTOCOL_HTTP2,
    )
    told.endpoints[0].weight = 4
    told.endpoints[0].locality.zone = "a"
    told.endpoints[0].health = service_pb2.HEALTH_DRAINING
    request = rpc.CreateServiceRequest(service_id="echo", service=told)
    made = (await catalog.CreateService(request)).service
    for field in ("name", "etag", "create_time", "update_time", "revision"):
        made.ClearField(field)
    assert made == told
    header = route_pb2.HeaderMatch
    told = route(
        description="some",
        match=route_pb2.RouteMatch(
            grpc_service=SERVICE,
            grpc_method="Echo",
            headers=[
                header(name="a", exact=""),
                header(name="b", prefix="x"),
                header(name="c", present=False),
            ],
        ),
        destinations=[
            route_pb2.Destination(service=ECHO, weight=0),
            route_pb2.Destination(service="services/other", weight=5),
        ],
        timeout={"seconds": 2},
        retry=route_pb2.Retry(attempts_max=2, per_try_timeout={"seconds": 1}),
        access=service_pb2.Access(public=True),
    )
    request = rpc.CreateRouteRequest(parent=ECHO, route_id="some", route=told)
    made = (await catalog.CreateRoute(request)).route
    for field in ("name", "etag", "create_time", "update_time", "revision"):
        made.ClearField(field)
    assert made == told


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"grpc_services": ["no-name"]}, "service.grpc_services[0]"),
        ({"grpc_services": [SERVICE, SERVICE]}, "service.grpc_services"),
        ({"identity": "Not An Id"}, "service.identity"),
        ({"json_prefixes": ["a/b"]}, "service.json_prefixes[0]"),
        (
            {"endpoints": [service_pb2.Endpoint(address="localhost", port=1)]},
            "service.endpoints[0].address",
        ),
        (
            {"endpoints": [service_pb2.Endpoint(address="::1", port=70_000)]},
            "service.endpoints[0].port",
        ),
        ({"descriptor_set": b"\xff"}, "service.descriptor_set"),
        ({"descriptor_set": b"\n\x03\n\x01x"}, "service.descriptor_set"),
        ({"unary_timeout": {"seconds": 99_999}}, "service.unary_timeout"),
        ({"unary_timeout": {"seconds": -1}}, "service.unary_timeout"),
        ({"stream_idle_timeout": {"seconds": 1 << 60}}, "service.stream_idle_timeout"),
        ({"rate_limit": service_pb2.RateLimit()}, "service.rate_limit.burst"),
        ({"access": service_pb2.Access(public=True, roles=["a"])}, "service.access"),
        ({"description": "x" * 501}, "service.description"),
    ],
)
async def test_a_service_that_cannot_be_is_refused_by_field(shared, fields, path):
    error = await refused(create(shared, **fields))
    assert error.reason == "INVALID_SERVICE"
    assert path in error.field_violations


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"match": route_pb2.RouteMatch(grpc_service="a.B")}, "route.match.grpc_service"),
        (
            {"match": route_pb2.RouteMatch(grpc_service=SERVICE, grpc_method="Nope")},
            "route.match.grpc_method",
        ),
        (
            {
                "match": route_pb2.RouteMatch(
                    grpc_service=SERVICE, headers=[route_pb2.HeaderMatch(name="X")]
                )
            },
            "route.match.headers[0]",
        ),
        ({"destinations": []}, "route.destinations"),
        ({"retry": route_pb2.Retry()}, "route.retry.attempts_max"),
    ],
)
async def test_a_route_that_cannot_be_is_refused_by_field(shared, fields, path):
    request = rpc.CreateRouteRequest(parent=KNOWN, route_id="r", route=route(**fields))
    error = await refused(shared.CreateRoute(request))
    assert error.reason == "INVALID_ROUTE"
    assert path in error.field_violations


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", ["", "Echo", "e/x", "-", "1a", "a" * 41, "a-"])
async def test_a_name_of_another_form_is_refused(shared, name):
    assert (await refused(create(shared, name))).reason == "INVALID_NAME"


async def test_what_is_not_there_is_not_found(catalog):
    error = await refused(catalog.GetService(rpc.GetServiceRequest(name=ECHO)))
    assert error.reason == "SERVICE_NOT_FOUND"
    error = await refused(catalog.GetRoute(rpc.GetRouteRequest(name=f"{ECHO}/routes/r")))
    assert error.reason == "ROUTE_NOT_FOUND"
    error = await refused(
        catalog.CreateRoute(rpc.CreateRouteRequest(parent=ECHO, route_id="r", route=route()))
    )
    assert error.reason == "SERVICE_NOT_FOUND"
    error = await refused(
        catalog.UpdateService(rpc.UpdateServiceRequest(service=service(name=ECHO)))
    )
    assert error.reason == "SERVICE_NOT_FOUND"


async def test_a_name_is_taken_once(catalog):
    await create(catalog)
    assert (await refused(create(catalog))).reason == "SERVICE_EXISTS"


async def test_a_grpc_service_belongs_to_one_service(catalog):
    await create(catalog)
    error = await refused(create(catalog, "parrot"))
    assert error.reason == "GRPC_SERVICE_TAKEN"
    assert error.metadata["service"] == ECHO


async def test_an_old_etag_changes_nothing(catalog):
    made = await create(catalog)
    changed = service(name=ECHO, etag=made.etag, description="one")
    newer = (await catalog.UpdateService(rpc.UpdateServiceRequest(service=changed))).service
    assert newer.etag != made.etag
    changed.description = "two"
    error = await refused(catalog.UpdateService(rpc.UpdateServiceRequest(service=changed)))
    assert error.reason == "ETAG_MISMATCH"
    error = await refused(
        catalog.DeleteService(rpc.DeleteServiceRequest(name=ECHO, etag=made.etag))
    )
    assert error.reason == "ETAG_MISMATCH"
    got = await catalog.GetService(rpc.GetServiceRequest(name=ECHO))
    assert got.service == newer


async def test_a_mask_leaves_the_other_fields_alone(catalog):
    made = await create(catalog, descriptor_set=descriptor_set(), description="kept")
    update = rpc.UpdateServiceRequest(
        service=service_pb2.Service(
            name=ECHO, endpoints=[service_pb2.Endpoint(address="10.0.0.1", port=1)]
        ),
        update_mask=field_mask_pb2.FieldMask(paths=["endpoints"]),
    )
    now = (await catalog.UpdateService(update)).service
    assert now.endpoints[0].address == "10.0.0.1"
    assert (now.description, now.descriptor_set) == ("kept", made.descriptor_set)
    for path in ("etag", "nothing", "endpoints.port"):
        update.update_mask.paths[:] = [path]
        assert (await refused(catalog.UpdateService(update))).reason == "INVALID_UPDATE_MASK"


async def test_an_update_that_changes_nothing_makes_no_revision(catalog):
    request = rpc.UpdateServiceRequest(service=service(name=ECHO), allow_missing=True)
    first = (await catalog.UpdateService(request)).service
    second = (await catalog.UpdateService(request)).service
    assert (first.revision, second) == (1, first)


async def test_a_request_that_comes_twice_counts_once(catalog):
    first = await create(catalog, request_id="r1")
    update = rpc.UpdateServiceRequest(service=service(name=ECHO, description="later"))
    await catalog.UpdateService(update)
    assert await create(catalog, request_id="r1") == first
    error = await refused(create(catalog, "parrot", request_id="r1"))
    assert error.reason == "REQUEST_ID_REUSED"
    delete = rpc.DeleteServiceRequest(name=ECHO, request_id="r2")
    gone = await catalog.DeleteService(delete)
    assert await catalog.DeleteService(delete) == gone
    error = await refused(create(catalog, request_id="x" * 65))
    assert error.reason == "INVALID_REQUEST_ID"


async def test_a_service_that_is_needed_stays(catalog):
    await create(catalog)
    await create(catalog, "other", grpc_services=[])
    made = route(destinations=[route_pb2.Destination(service="services/other", weight=1)])
    await catalog.CreateRoute(rpc.CreateRouteRequest(parent=ECHO, route_id="r", route=made))
    other = rpc.DeleteServiceRequest(name="services/other", force=True)
    assert (await refused(catalog.DeleteService(other))).reason == "SERVICE_IN_USE"
    request = rpc.DeleteServiceRequest(name=ECHO)
    assert (await refused(catalog.DeleteService(request))).reason == "SERVICE_IN_USE"
    update = rpc.UpdateServiceRequest(service=service(name=ECHO, grpc_services=["a.B"]))
    assert (await refused(catalog.UpdateService(update))).reason == "SERVICE_IN_USE"
    request.force = True
    assert (await catalog.DeleteService(request)).revision == 5
    await catalog.DeleteService(other)
    listed = await catalog.ListRoutes(rpc.ListRoutesRequest(parent="services/-"))
    assert not listed.routes


async def test_lists_come_in_pages_in_the_order_of_names(catalog):
    for name in ("c", "a", "b"):
        await create(catalog, name, grpc_services=[])
    names, token = [], ""
    while True:
        request = rpc.ListServicesRequest(page_size=2, page_token=token)
        page = await catalog.ListServices(request)
        names += [one.name for one in page.services]
        token = page.next_page_token
        if not token:
            break
    assert names == ["services/a", "services/b", "services/c"]
    error = await refused(catalog.ListServices(rpc.ListServicesRequest(page_token="x")))
    assert error.reason == "INVALID_PAGE_TOKEN"


async def test_history_tells_every_change_newest_first(catalog):
    await create(catalog)
    update = rpc.UpdateServiceRequest(service=service(name=ECHO, description="later"))
    await catalog.UpdateService(update)
    await create(catalog, "other", grpc_services=[])
    await catalog.DeleteService(rpc.DeleteServiceRequest(name=ECHO))
    revision = revision_pb2.Revision
    first = await catalog.ListRevisions(rpc.ListRevisionsRequest(object=ECHO, page_size=2))
    rest = await catalog.ListRevisions(
        rpc.ListRevisionsRequest(object=ECHO, page_size=2, page_token=first.next_page_token)
    )
    found = [*first.revisions, *rest.revisions]
    assert [(one.revision, one.action) for one in found] == [
        (4, revision.ACTION_DELETE),
        (2, revision.ACTION_UPDATE),
        (1, revision.ACTION_CREATE),
    ]
    assert found[1].service.description == "later"
    assert found[0].WhichOneof("content") is None
    assert {one.actor for one in found} == {"spiffe://aerofusion/operator/local"}


async def test_descriptors_that_do_not_go_together_are_refused(catalog):
    await create(catalog, json_prefixes=["echo"], descriptor_set=descriptor_set())
    altered = descriptor_set().replace(b"/echo/v1/echo", b"/echo/v2/echo")
    altered = altered.replace(b"EchoService", b"SameService")
    error = await refused(
        create(
            catalog,
            "same",
            grpc_services=["test.echo.v1.SameService"],
            json_prefixes=["echo"],
            descriptor_set=altered,
        )
    )
    assert error.reason == "DESCRIPTOR_CONFLICT"


async def test_bytes_that_are_no_message_are_invalid(operator):
    call = operator.unary_unary("/aerofusion.gateway.v1.CatalogService/GetService")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"\xff\xff")
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
