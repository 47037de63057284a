"""Endpoints from a Kubernetes API server, up to the edge."""

import asyncio
import re
import time

import grpc
import pytest
import pytest_asyncio

from aerofusion.gateway.v1 import service_pb2
from tests.contract.discovery.apiserver import ApiServer
from tests.fixtures.edge import edge
from tests.fixtures.endpoints import answered, has_hosts, hosts, later, load, until


pytestmark = pytest.mark.asyncio(loop_scope="module")

OUT_WITHIN_S = 2.0
CHANGES = 1_000
PUSHES_MAX = 200
"""For those: one each 20 ms at most, in some seconds."""

KUBERNETES = service_pb2.Discovery(
    kubernetes=service_pb2.KubernetesDiscovery(namespace="airport", service="echo")
)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def cluster(tmp_path_factory):
    async with ApiServer(tmp_path_factory.mktemp("cluster")).serving() as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh(postgres, cluster):
    settings = {
        "kubernetes_api": cluster.url,
        "kubernetes_token_file": str(cluster.token_file),
        "kubernetes_ca_file": str(cluster.ca_file),
    }
    async with edge(postgres, **settings) as made:
        made.servers = [await made.echo("0"), await made.echo("1")]
        for server in made.servers:
            cluster.put(server.name, server.port)
        await made.put_service("echo", discovery=KUBERNETES)
        await has_hosts(made, *(server.port for server in made.servers))
        yield made


async def begun(cluster, count):
    async def condition():
        return len(cluster.watches) >= count

    await until(f"watch {count}", condition)


async def test_slices_are_listed_in_pages_and_then_watched(mesh, cluster):
    one, two = (server.port for server in mesh.servers)
    assert cluster.lists >= 2
    cluster.delete("echo-1")
    await has_hosts(mesh, one)
    cluster.put("echo-1", two)
    await has_hosts(mesh, one, two)


async def test_a_terminating_pod_drains(mesh, cluster):
    one, two = (server.port for server in mesh.servers)
    cluster.put("echo-1", two, ready=False, serving=True, terminating=True)

    async def drains():
        return (await hosts(mesh)).get(two) == "/eds_status_draining"

    await until("a draining endpoint", drains)
    async with load(mesh) as results:
        await until("calls", later(results, time.monotonic() + 0.5))
    assert {said for _, said in results} == {"echo-0"}
    cluster.put("echo-1", two, ready=True, serving=True, terminating=False)
    await has_hosts(mesh, one, two)


async def test_a_watch_goes_on_from_the_last_bookmark(mesh, cluster):
    count = len(cluster.watches)
    cluster.bookmark()
    version = cluster.version
    cluster.cut()
    await begun(cluster, count + 1)
    assert cluster.watches[-1] == version


async def test_a_version_that_is_too_old_means_to_list_again(mesh, cluster):
    one, two = (server.port for server in mesh.servers)
    lists, count = cluster.lists, len(cluster.watches)
    del cluster.slices["echo-1"]  # While nobody watched.
    cluster.expire()
    await has_hosts(mesh, one)
    await begun(cluster, count + 1)
    assert cluster.lists > lists
    cluster.put("echo-1", two)
    await has_hosts(mesh, one, two)


async def test_a_new_token_is_shown_and_a_bad_one_changes_nothing(mesh, cluster):
    one, two = (server.port for server in mesh.servers)
    count = len(cluster.watches)
    cluster.token = "known to nobody"
    cluster.cut()

    async def refused():
        return cluster.refused >= 2

    await until("refusals", refused)
    assert set(await hosts(mesh)) == {one, two}
    cluster.rotate("second")
    await begun(cluster, count + 1)
    cluster.delete("echo-1")
    await has_hosts(mesh, one)
    cluster.put("echo-1", two)
    await has_hosts(mesh, one, two)


async def test_a_dead_pod_is_out_by_the_edges_own_checks(mesh, cluster, replicas, record_property):
    one, two = (server.port for server in mesh.servers)
    dying = await replicas.start("pod", lease_s=0)
    cluster.put("dying", dying)
    check = {"interval": {"nanos": 500_000_000}, "unhealthy_threshold": 2}
    await mesh.put_service("echo", discovery=KUBERNETES, health_check=check)
    await has_hosts(mesh, one, two, dying)
    async with load(mesh) as results:
        await until("answers of all", answered(results, "echo-0", "echo-1", "echo-pod"))
        killed = await replicas.kill("pod")
        await until("calls after that", later(results, killed + OUT_WITHIN_S + 0.5))
    good = {"echo-0", "echo-1"}
    failed = [began for began, said in results if said not in good and began > killed]
    last_s = max(failed, default=killed) - killed
    record_property("last_failed_call_began_s", round(last_s, 3))
    assert last_s < OUT_WITHIN_S
    cluster.delete("dying")
    await mesh.put_service("echo", discovery=KUBERNETES)
    await has_hosts(mesh, one, two)


async def pushes(mesh):
    """How many versions of the endpoints Envoy has taken."""
    said = await mesh.admin("/stats?filter=cluster.services/echo.update_success")
    return int(re.search(r"update_success: (\d+)", said)[1])


async def test_a_thousand_changes_a_second_go_to_the_edge_together(mesh, cluster, record_property):
    _one, two = (server.port for server in mesh.servers)
    before = await pushes(mesh)
    began = time.monotonic()
    for number in range(CHANGES):
        cluster.put("echo-1", two, zone=f"zone-{number}")
        due = began + (number + 1) / CHANGES
        await asyncio.sleep(max(0.0, due - time.monotonic()))  # paces
    cluster.delete("echo-0")
    sent_s = time.monotonic() - began
    await has_hosts(mesh, two)
    record_property("sent_s", round(sent_s, 3))
    record_property("settled_s", round(time.monotonic() - began - sent_s, 3))
    record_property("pushes", await pushes(mesh) - before)
    assert 1 <= await pushes(mesh) - before <= PUSHES_MAX
    async with load(mesh) as results:
        await until("calls", later(results, time.monotonic() + 0.3))
    assert {said for _, said in results} == {"echo-1"}
    assert grpc.StatusCode.UNAVAILABLE.name not in {said for _, said in results}
