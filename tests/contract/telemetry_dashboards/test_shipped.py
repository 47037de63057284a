"""Dashboards over gRPC where there is no database to keep others: those that come with it."""

import grpc
import pytest
import pytest_asyncio

from aerofusion.telemetry.v1 import dashboard_service_pb2 as rpc
from meshkit.errors import FailedPrecondition
from meshkit.status import from_rpc_error
from telemetry.dashboards.shipped import read_shipped
from telemetry.promql.limits import QueryLimits
from telemetry.promql.parse import parse


pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(240),  # The first start on a machine compiles.
]

SHIPPED = ["edge", "gateway", "hosts", "notifier", "postgresql", "syncd", "telemetry"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(started):
    return (await started())[0]


async def test_shipped_dashboards_can_be_read_without_a_database_but_not_changed(service):
    listed = await service.dashboards.ListDashboards(rpc.ListDashboardsRequest())
    assert [one.name.removeprefix("dashboards/") for one in listed.dashboards] == SHIPPED
    get = rpc.GetDashboardRequest(name="dashboards/edge")
    edge = (await service.dashboards.GetDashboard(get)).dashboard
    assert (edge.title, edge.revision) == ("Edge", 0)
    assert edge.panels

    edge.title = "Mine"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.dashboards.UpdateDashboard(rpc.UpdateDashboardRequest(dashboard=edge))
    error = from_rpc_error(caught.value)
    assert isinstance(error, FailedPrecondition)
    assert error.reason == "DASHBOARDS_OFF"


async def test_pages_of_dashboards_follow_one_another(service):
    first = await service.dashboards.ListDashboards(rpc.ListDashboardsRequest(page_size=5))
    rest = await service.dashboards.ListDashboards(
        rpc.ListDashboardsRequest(page_size=5, page_token=first.next_page_token)
    )

    names = [
        one.name.removeprefix("dashboards/") for page in (first, rest) for one in page.dashboards
    ]
    assert names == SHIPPED
    assert not rest.next_page_token


async def test_every_query_of_a_shipped_dashboard_can_be_read(service):
    assert list(read_shipped()) == SHIPPED
    for name in SHIPPED:
        answer = await service.dashboards.ResolveDashboard(
            rpc.ResolveDashboardRequest(name=f"dashboards/{name}")
        )
        queries = [query.query for panel in answer.dashboard.panels for query in panel.queries]
        assert queries, name
        for query in queries:
            assert "$" not in query
            parse(query, QueryLimits())
