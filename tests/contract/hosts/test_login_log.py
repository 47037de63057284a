"""What the access log has of a sign-in: never the code that a provider sent a browser with."""

import asyncio

import pytest
import pytest_asyncio

from tests.contract.gateway.test_edge_telemetry import Collector, text_of
from tests.fixtures.logins import open_logins, status
from tests.fixtures.visitor import Visitor


pytestmark = pytest.mark.asyncio(loop_scope="module")

WITHIN_S = 30
CODE = "a-code-of-the-providers"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sites(postgres):
    async with open_logins(postgres) as made:
        yield made


async def test_a_refused_sign_in_is_logged_without_its_code_and_other_refusals_with_details(sites):
    async with (
        Collector(await sites.mesh.workload("telemetry")) as collector,
        sites.browser() as http,
    ):
        await sites.put_site("telemetry", collector)
        await sites.mesh.settled()
        visitor = Visitor(http)
        refused = f"/oauth2/callback?code={CODE}&state=x"
        assert status(401)(await visitor.ask(sites.url(refused)))
        assert status(401)(await visitor.ask(sites.url("/x"), headers={"accept": "*/*"}))
        assert status(200)(await visitor.ask(sites.url("/open?code=1")))
        found = {}
        async with asyncio.timeout(WITHIN_S):
            while len(found) < 3:
                told = await collector.logs.get()
                assert CODE not in str(told)
                for scope in told.resource_logs[0].scope_logs:
                    for record in scope.log_records:
                        attributes = text_of(record.attributes)
                        found[attributes["url.path"]] = attributes
    assert found["/oauth2/callback"]["http.response.status_code"] == "401"
    assert "details" not in found["/oauth2/callback"]
    assert found["/x"]["details"] not in ("", "-")
    assert found["/open"]["details"] == "via_upstream"
