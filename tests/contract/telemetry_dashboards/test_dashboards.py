"""Dashboards over gRPC: kept, versioned, imported, resolved."""

import json

import grpc
import pytest
import pytest_asyncio

from aerofusion.telemetry.v1 import dashboard_pb2, dashboard_service_pb2
from meshkit.errors import AlreadyExists, Conflict, InvalidInput, NotFound
from meshkit.status import from_rpc_error
from tests.unit.telemetry_dashboards.test_grafana import BOARD


pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(240),  # The first start on a machine compiles.
]


rpc = dashboard_service_pb2


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(started, postgres):
    return (await started(await postgres.database("telemetry")))[0]


def board(title="Mine", query="up", **fields):
    panel = dashboard_pb2.Panel(
        title="Up", queries=[dashboard_pb2.PanelQuery(query=query)], unit="1"
    )
    return dashboard_pb2.Dashboard(title=title, panels=[panel], **fields)


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def created(service, dashboard, **options):
    request = rpc.CreateDashboardRequest(
        dashboard_id=dashboard, dashboard=options.pop("dashboard_", board()), **options
    )
    return (await service.dashboards.CreateDashboard(request)).dashboard


async def got(service, name, revision=0):
    request = rpc.GetDashboardRequest(name=f"dashboards/{name}", revision=revision)
    return (await service.dashboards.GetDashboard(request)).dashboard


async def test_a_dashboard_is_kept_with_its_history(service):
    made = await created(service, "kept")
    assert (made.name, made.revision) == ("dashboards/kept", 1)
    made.title = "Ours"
    changed = (
        await service.dashboards.UpdateDashboard(rpc.UpdateDashboardRequest(dashboard=made))
    ).dashboard
    assert (changed.title, changed.revision) == ("Ours", 2)
    assert changed.etag != made.etag
    await service.dashboards.DeleteDashboard(
        rpc.DeleteDashboardRequest(name=made.name, etag=changed.etag)
    )

    assert isinstance(await refused(got(service, "kept")), NotFound)
    assert (await got(service, "kept", 1)).title == "Mine"
    listed = await service.dashboards.ListDashboardRevisions(
        rpc.ListDashboardRevisionsRequest(name=made.name)
    )
    assert [(one.revision, one.title, one.deleted) for one in listed.revisions] == [
        (3, "Ours", True),
        (2, "Ours", False),
        (1, "Mine", False),
    ]
    assert listed.revisions[0].author.endswith("/operator/0")


async def test_who_read_an_older_one_changes_nothing(service):
    made = await created(service, "read")
    made.title = "Ours"
    await service.dashboards.UpdateDashboard(rpc.UpdateDashboardRequest(dashboard=made))
    made.title = "Theirs"

    error = await refused(
        service.dashboards.UpdateDashboard(rpc.UpdateDashboardRequest(dashboard=made))
    )
    assert isinstance(error, Conflict)
    assert (await got(service, "read")).title == "Ours"


async def test_a_repeat_of_a_creation_is_harmless_and_another_is_refused(service):
    first = await created(service, "repeated", request_id="r1")
    again = await created(service, "repeated", request_id="r1")
    assert again == first

    error = await refused(created(service, "repeated", request_id="r2"))
    assert isinstance(error, AlreadyExists)
    error = await refused(created(service, "repeated", request_id="r1", dashboard_=board("Other")))
    assert error.reason == "REQUEST_ID_REUSED"


async def test_a_changed_copy_stands_before_a_shipped_one_until_it_is_deleted(service):
    edge = await got(service, "edge")
    edge.title = "Our edge"
    await service.dashboards.UpdateDashboard(rpc.UpdateDashboardRequest(dashboard=edge))
    assert (await got(service, "edge")).title == "Our edge"
    await service.dashboards.DeleteDashboard(rpc.DeleteDashboardRequest(name=edge.name))

    assert (await got(service, "edge")).title == "Edge"


async def test_every_field_that_is_wrong_is_named(service):
    wrong = board("", query="")
    wrong.variables.add(name="1 2")
    error = await refused(created(service, "wrong", dashboard_=wrong))

    assert isinstance(error, InvalidInput)
    assert set(error.field_violations) == {
        "dashboard.title",
        "dashboard.variables[0].name",
        "dashboard.panels[0].queries[0].query",
    }


async def test_grafanas_json_is_imported_and_what_was_left_out_is_told(service):
    request = rpc.ImportGrafanaDashboardRequest(content=json.dumps(BOARD))
    answer = await service.dashboards.ImportGrafanaDashboard(request)
    assert answer.dashboard.name == "dashboards/shop"
    assert answer.dashboard.revision == 1
    assert {one.where for one in answer.untranslated} >= {"panels[3]", "panels[4].unit"}

    assert [one.title for one in (await got(service, "shop")).panels] == [
        "Requests of $job",
        "Logs",
        "Up",
    ]


async def test_variables_are_replaced_by_what_was_chosen(service):
    made = board(query='a_gauge{n=~"$n"} > $least')
    made.variables.add(name="n", label_name="n", selector="a_gauge", multi=True)
    made.variables.add(name="least", options=["0", "5"])
    await created(service, "varied", dashboard_=made)
    await service.send("a_gauge", 1, 2)

    answer = await service.dashboards.ResolveDashboard(
        rpc.ResolveDashboardRequest(name="dashboards/varied", chosen={"n": "1"})
    )
    assert answer.dashboard.panels[0].queries[0].query == 'a_gauge{n=~"1"} > 0'
    assert list(answer.choices[1].choices) == ["0", "5"]
