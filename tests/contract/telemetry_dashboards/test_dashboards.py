"""Dashboards over gRPC: kept, versioned, imported, resolved."""

import json

import grpc
import pytest

from aerofusion.telemetry.v1 import dashboard_pb2, dashboard_service_pb2
from meshkit.errors import AlreadyExists, Conflict, FailedPrecondition, InvalidInput, NotFound
from meshkit.status import from_rpc_error
from telemetry.dashboards.shipped import read_shipped
from telemetry.promql.limits import QueryLimits
from telemetry.promql.parse import parse
from tests.unit.telemetry_dashboards.test_grafana import BOARD


pytestmark = pytest.mark.timeout(240)  # The first start on a machine compiles.


rpc = dashboard_service_pb2
SHIPPED = ["edge", "gateway", "hosts", "notifier", "postgresql", "syncd", "telemetry"]


def board(title="Mine", query="up", **fields):
    panel = dashboard_pb2.Panel(
        title="Up", queries=[dashboard_pb2.PanelQuery(query=query)], unit="1"
    )
    return dashboard_pb2.Dashboard(title=title, panels=[panel], **fields)


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def created(service, dashboard="mine", **options):
    request = rpc.CreateDashboardRequest(
        dashboard_id=dashboard, dashboard=options.pop("dashboard_", board()), **options
    )
    return (await service.dashboards.CreateDashboard(request)).dashboard


async def got(service, name, revision=0):
    request = rpc.GetDashboardRequest(name=f"dashboards/{name}", revision=revision)
    return (await service.dashboards.GetDashboard(request)).dashboard


async def test_a_dashboard_is_kept_with_its_history(running, dsn):
    async with running(dsn) as service:
        made = await created(service)
        assert (made.name, made.revision) == ("dashboards/mine", 1)
        made.title = "Ours"
        changed = (
            await service.dashboards.UpdateDashboard(rpc.UpdateDashboardRequest(dashboard=made))
        ).dashboard
        assert (changed.title, changed.revision) == ("Ours", 2)
        assert changed.etag != made.etag
        await service.dashboards.DeleteDashboard(
            rpc.DeleteDashboardRequest(name=made.name, etag=changed.etag)
        )

        assert isinstance(await refused(got(service, "mine")), NotFound)
        assert (await got(service, "mine", 1)).title == "Mine"
        listed = await service.dashboards.ListDashboardRevisions(
            rpc.ListDashboardRevisionsRequest(name=made.name)
        )
        assert [(one.revision, one.title, one.deleted) for one in listed.revisions] == [
            (3, "Ours", True),
            (2, "Ours", False),
            (1, "Mine", False),
        ]
        assert listed.revisions[0].author.endswith("/operator/0")


async def test_who_read_an_older_one_changes_nothing(running, dsn):
    async with running(dsn) as service:
        made = await created(service)
        made.title = "Ours"
        await service.dashboards.UpdateDashboard(rpc.UpdateDashboardRequest(dashboard=made))
        made.title = "Theirs"

        error = await refused(
            service.dashboards.UpdateDashboard(rpc.UpdateDashboardRequest(dashboard=made))
        )
        assert isinstance(error, Conflict)
        assert (await got(service, "mine")).title == "Ours"


async def test_a_repeat_of_a_creation_is_harmless_and_another_is_refused(running, dsn):
    async with running(dsn) as service:
        first = await created(service, request_id="r1")
        again = await created(service, request_id="r1")
        assert again == first

        error = await refused(created(service, request_id="r2"))
        assert isinstance(error, AlreadyExists)
        error = await refused(created(service, request_id="r1", dashboard_=board("Other")))
        assert error.reason == "REQUEST_ID_REUSED"


async def test_shipped_dashboards_can_be_read_without_a_database_but_not_changed(running):
    async with running() as service:
        listed = await service.dashboards.ListDashboards(rpc.ListDashboardsRequest())
        assert [one.name.removeprefix("dashboards/") for one in listed.dashboards] == SHIPPED
        edge = await got(service, "edge")
        assert (edge.title, edge.revision) == ("Edge", 0)
        assert edge.panels

        error = await refused(created(service))
        assert isinstance(error, FailedPrecondition)
        assert error.reason == "DASHBOARDS_OFF"


async def test_a_changed_copy_stands_before_a_shipped_one_until_it_is_deleted(running, dsn):
    async with running(dsn) as service:
        edge = await got(service, "edge")
        edge.title = "Our edge"
        await service.dashboards.UpdateDashboard(rpc.UpdateDashboardRequest(dashboard=edge))
        assert (await got(service, "edge")).title == "Our edge"
        await service.dashboards.DeleteDashboard(rpc.DeleteDashboardRequest(name=edge.name))

        assert (await got(service, "edge")).title == "Edge"


async def test_pages_of_dashboards_follow_one_another(running):
    async with running() as service:
        first = await service.dashboards.ListDashboards(rpc.ListDashboardsRequest(page_size=5))
        rest = await service.dashboards.ListDashboards(
            rpc.ListDashboardsRequest(page_size=5, page_token=first.next_page_token)
        )

        names = [
            one.name.removeprefix("dashboards/")
            for page in (first, rest)
            for one in page.dashboards
        ]
        assert names == SHIPPED
        assert not rest.next_page_token


async def test_every_field_that_is_wrong_is_named(running, dsn):
    wrong = board("", query="")
    wrong.variables.add(name="1 2")
    async with running(dsn) as service:
        error = await refused(created(service, dashboard_=wrong))

    assert isinstance(error, InvalidInput)
    assert set(error.field_violations) == {
        "dashboard.title",
        "dashboard.variables[0].name",
        "dashboard.panels[0].queries[0].query",
    }


async def test_grafanas_json_is_imported_and_what_was_left_out_is_told(running, dsn):
    request = rpc.ImportGrafanaDashboardRequest(content=json.dumps(BOARD))
    async with running(dsn) as service:
        answer = await service.dashboards.ImportGrafanaDashboard(request)
        assert answer.dashboard.name == "dashboards/shop"
        assert answer.dashboard.revision == 1
        assert {one.where for one in answer.untranslated} >= {"panels[3]", "panels[4].unit"}

        assert [one.title for one in (await got(service, "shop")).panels] == [
            "Requests of $job",
            "Logs",
            "Up",
        ]


async def test_variables_are_replaced_by_what_was_chosen(running, dsn):
    made = board(query='a_gauge{n=~"$n"} > $least')
    made.variables.add(name="n", label_name="n", selector="a_gauge", multi=True)
    made.variables.add(name="least", options=["0", "5"])
    async with running(dsn) as service:
        await created(service, dashboard_=made)
        await service.send("a_gauge", 1, 2)

        answer = await service.dashboards.ResolveDashboard(
            rpc.ResolveDashboardRequest(name="dashboards/mine", chosen={"n": "1"})
        )
        assert answer.dashboard.panels[0].queries[0].query == 'a_gauge{n=~"1"} > 0'
        assert list(answer.choices[1].choices) == ["0", "5"]


async def test_every_query_of_a_shipped_dashboard_can_be_read(running):
    assert list(read_shipped()) == SHIPPED
    async with running() as service:
        for name in SHIPPED:
            answer = await service.dashboards.ResolveDashboard(
                rpc.ResolveDashboardRequest(name=f"dashboards/{name}")
            )
            queries = [query.query for panel in answer.dashboard.panels for query in panel.queries]
            assert queries, name
            for query in queries:
                assert "$" not in query
                parse(query, QueryLimits())
