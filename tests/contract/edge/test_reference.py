"""The API reference, read at a real edge: documents, who may have them, and the page in a browser."""

import asyncio
import gzip
import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from aerofusion.gateway.v1 import catalog_service_pb2, service_pb2
from meshctl.contracts import contract
from tests.fixtures.echo import SERVICE
from tests.fixtures.edge import bearer, edge, free_port


pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).parent.parent.parent.parent
SUNSET = datetime(2030, 1, 2, tzinfo=UTC)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh(postgres):
    port = free_port()
    async with edge(postgres, reference_listen=f"127.0.0.1:{port}") as made:
        made.reference_port = port
        await put_reference(made)
        ending = service_pb2.Lifecycle(grpc_service=SERVICE, successor="test.echo.v2.EchoService")
        ending.deprecate_time.FromDatetime(SUNSET - timedelta(days=90))
        ending.sunset_time.FromDatetime(SUNSET)
        server = await made.echo("0")
        await made.put_service("echo", server, description="Says it again.", lifecycles=[ending])
        offered = contract("notify")
        await made.put_service(
            "notifier",
            description="Tells people things in time.",
            identity="notifier",
            grpc_services=offered.grpc_services,
            json_prefixes=["notify"],
            descriptor_set=offered.descriptor_set,
        )
        await made.settled()
        yield made


async def put_reference(mesh, **fields):
    """Register the reference as operators do."""
    where = service_pb2.Endpoint(address="127.0.0.1", port=mesh.reference_port)
    given = {
        "identity": "gateway",
        "grpc_services": [],
        "json_prefixes": [],
        "descriptor_set": b"",
        "protocol": service_pb2.PROTOCOL_HTTP1,
        "endpoints": [where],
        **fields,
    }
    endpoints = given.pop("endpoints")
    request = service_pb2.Service(name="services/reference", endpoints=endpoints, **given)
    await mesh.catalog.UpdateService(
        catalog_service_pb2.UpdateServiceRequest(service=request, allow_missing=True)
    )
    await mesh.settled()


async def test_every_service_has_a_document_that_is_openapi(mesh):
    headers = dict(bearer(await mesh.token()))
    async with mesh.http() as http:
        index = await (await http.get("/openapi.json", headers=headers)).json()
        validate(index, cls=OpenAPIV31SpecValidator)
        found = {one["name"]: one for one in index["x-services"]}
        assert found.keys() == {"echo", "notifier"}
        for one in found.values():
            document = await (await http.get(one["url"], headers=headers)).json()
            validate(document, cls=OpenAPIV31SpecValidator)
        echo = await (await http.get("/openapi/echo.json", headers=headers)).json()
    assert echo["paths"]["/echo/v1/echo"]["post"]["deprecated"] is True
    assert echo["paths"]["/echo/v1/echo"]["post"]["x-lifecycle"]["sunsetTime"].startswith("2030")
    assert echo["paths"][f"/{SERVICE}/Chat"]["post"]["x-grpc-only"] is True


async def test_what_a_document_says_is_what_the_edge_does(mesh):
    """The paths of the document are called as it says, and answered in the form it says."""
    headers = dict(bearer(await mesh.token()))
    async with mesh.http() as http:
        answer = await http.post("/echo/v1/echo", json={"text": "hi"}, headers=headers)
        assert (await answer.json())["text"] == "hi"
        assert {"deprecation", "sunset", "link"} <= {name.lower() for name in answer.headers}
        streamed = await http.get("/echo/v1/ticks/x", params={"ticks": "3"}, headers=headers)
        assert streamed.content_type == "application/json"
        lines = [json.loads(line) for line in (await streamed.text()).splitlines()]
        assert [line["text"][:1] for line in lines] == ["x"] * 3


async def test_the_page_is_for_everybody_and_the_documents_for_those_with_a_token(mesh):
    async with mesh.http() as http:
        page = await http.get("/reference")
        assert page.status == 200
        assert page.content_type == "text/html"
        assert "script-src 'self'" in page.headers["content-security-policy"]
        for path in ("/openapi.json", "/openapi/echo.json"):
            assert (await http.get(path)).status == 401
        headers = dict(bearer(await mesh.token()))
        assert (await http.get("/openapi/nothing.json", headers=headers)).status == 404
        assert (await http.get("/reference/else", headers=headers)).status == 404


async def test_who_may_read_is_what_the_services_access_says(mesh):
    passenger, service = (
        await mesh.token("passenger"),
        await mesh.token("service", subject="services/flights"),
    )
    async with mesh.http() as http:
        await put_reference(mesh, access=service_pb2.Access(roles=["service"]))
        assert (await http.get("/openapi.json", headers=dict(bearer(passenger)))).status == 403
        assert (await http.get("/openapi.json", headers=dict(bearer(service)))).status == 200
        await put_reference(mesh, access=service_pb2.Access(public=True))
        assert (await http.get("/openapi.json")).status == 200
        await put_reference(mesh)
        assert (await http.get("/openapi.json")).status == 401


async def test_what_a_reader_has_isnt_sent_again(mesh):
    headers = dict(bearer(await mesh.token()))
    async with mesh.http() as http:
        http._auto_decompress = False
        first = await http.get("/openapi/notifier.json", headers=headers)
        assert first.headers["content-encoding"] == "gzip"
        document = json.loads(gzip.decompress(await first.read()))
        assert document["info"]["title"] == "notifier"
        tag = first.headers["etag"]
        again = await http.get("/openapi/notifier.json", headers={**headers, "if-none-match": tag})
        assert (again.status, await again.read()) == (304, b"")
        plain = {**headers, "accept-encoding": "identity"}
        other = await http.get("/openapi/notifier.json", headers=plain)
        assert json.loads(await other.read()) == document
        assert other.headers["etag"] != tag


async def test_a_change_is_in_the_document_at_once(mesh):
    headers = dict(bearer(await mesh.token()))
    await mesh.put_service(
        "other", description="One", json_prefixes=[], grpc_services=["a.B"], descriptor_set=b""
    )
    await mesh.settled()
    async with mesh.http() as http:
        before = await (await http.get("/openapi/other.json", headers=headers)).json()
        assert before["info"]["description"] == "One"
        await mesh.put_service(
            "other", description="Two", json_prefixes=[], grpc_services=["a.B"], descriptor_set=b""
        )
        await mesh.settled()
        after = await (await http.get("/openapi/other.json", headers=headers)).json()
        assert after["info"]["description"] == "Two"
        await mesh.catalog.DeleteService(
            catalog_service_pb2.DeleteServiceRequest(name="services/other")
        )
        await mesh.settled()
        assert (await http.get("/openapi/other.json", headers=headers)).status == 404


@pytest.mark.browser
async def test_somebody_finds_a_method_in_a_browser(mesh):
    task = {
        "chromium": shutil.which("chromium"),
        "edge": f"https://localhost:{mesh.port}",
        "token": await mesh.token(),
        "search": "echo ticks",
        "shots": os.environ.get("SHOTS", ""),
        "also": "notifier",
        "dark": bool(os.environ.get("DARK")),
    }
    process = await asyncio.create_subprocess_exec(
        "node",
        str(ROOT / "tests/e2e/web/reference.mjs"),
        json.dumps(task),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    told = json.loads(out)
    assert told["problems"] == []
    assert told["elsewhere"] == []
    assert told["cards"] == ["echo", "notifier"]
    assert any("Ticks" in one for one in told["found"])
    assert told["title"].startswith("echo")
    assert told["path"] == "/echo/v1/ticks/{text}"
    assert {"text", "ticks", "pauseMs"} <= set(told["fields"])
    assert any("curl" in one for one in told["samples"])
    assert told["background"] != told["otherBackground"]
