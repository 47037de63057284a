"""Each bad configuration is refused, or blamed on its object, and its neighbours keep serving."""

import asyncio
import os
import statistics
import time
from collections import defaultdict
from pathlib import Path

import pytest

from aerofusion.gateway.v1 import config_service_pb2 as config
from aerofusion.gateway.v1 import object_pb2, service_pb2
from tests.fixtures.bad_configurations import Neighbours, blamed, company, put_to, table
from tests.fixtures.sites import host, open_sites, to
from tests.soak.test_xds_oracle import commit


SLICE = bool(os.environ.get("MESH_SOAK_SLICE"))
REPORT = Path(__file__).parent.parent.parent / "docs" / "bad-configurations.md"
LEAST = 200

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def sites(postgres):
    """An edge with an echo service, a website, and what bad configurations need beside them."""
    async with open_sites(postgres) as made:
        await made.mesh.put_service("echo", await made.mesh.echo("0"))
        await made.website("shop")
        rule = {"id": "all", "match": {"pathPrefix": "/"}, "forward": to("shop")}
        shop = host(access={"public": True}, rules=[rule])
        await made.apply(made.certificate("web", "shop.example"), shop)
        await made.apply(*company())
        yield made


@pytest.fixture
async def neighbours(sites):
    """Calls to the others, all the while."""
    made = Neighbours(sites)
    calling = asyncio.create_task(made.keep_calling())
    await made.serve()
    yield made
    calling.cancel()


async def outcomes(sites, neighbours, rows):
    found = []
    for bad in rows:
        found.append(await put_to(sites, bad))
        if found[-1].how != "refused":
            await neighbours.serve()  # With what was taken away again, too.
    return found


def unexpected(found):
    return [f"{one.bad.kind}: {one.bad.why}: {one.said}" for one in found if not one.expected]


async def test_each_is_refused_or_blamed_on_its_object(sites, neighbours):
    rows = list(table())
    assert len(rows) >= LEAST
    assert len({str(one.value) for one in rows}) == len(rows), "two rows are the same"
    at_the_edge = await outcomes(sites, neighbours, rows)
    assert not unexpected(at_the_edge)
    await sites.mesh.start_preflight()
    ours = {one.bad.why for one in at_the_edge if one.how == "blamed"}
    in_preflight = await outcomes(sites, neighbours, [one for one in rows if one.why in ours])
    assert not unexpected(in_preflight)
    assert not neighbours.failed
    assert neighbours.served > len(ours)
    if not SLICE:
        report(at_the_edge, in_preflight, neighbours.served)


async def test_among_good_ones_only_the_bad_one_is_blamed(sites, neighbours):
    endpoints = dict.fromkeys(range(24), "127.0.0.1") | {11: "fe80::1%nope"}
    made = [
        object_pb2.Object(
            service=service_pb2.Service(
                name=f"services/n{number}",
                identity="echo",
                endpoints=[service_pb2.Endpoint(address=address, port=1)],
            )
        )
        for number, address in endpoints.items()
    ]
    change = config.ChangeSet(objects=made)
    answer = await sites.mesh.config.ApplyChange(config.ApplyChangeRequest(change_set=change))
    assert await blamed(sites, answer.change) == "blamed services/n11 endpoints[].address"
    await neighbours.serve()
    clusters = await sites.mesh.admin("/clusters")
    held = {line.partition("::")[0] for line in clusters.splitlines()}
    assert {f"services/n{n}" for n in range(24)} - {"services/n11"} <= held
    assert not neighbours.failed


def report(at_the_edge, in_preflight, served):
    lines = [
        "# Bad configurations",
        "",
        "What came of the table in `tests/fixtures/bad` when `tests/soak/test_bad_configurations.py` "
        "last ran whole: each configuration is bad in another place, and put to a gateway with a "
        "real Envoy that serves others meanwhile.",
        "Refused is what validation says no to, with reason and field; blamed is what Envoy says no "
        "to, on the object it comes from: in the preflight, or without one at the edge, which keeps "
        "what it had.",
        "",
        "| kind | what came of it | configurations | median ms | longest ms |",
        "| --- | --- | --- | --- | --- |",
    ]
    groups = defaultdict(list)
    for where, found in (("at the edge", at_the_edge), ("in the preflight", in_preflight)):
        for one in found:
            how = one.how if one.how == "refused" else f"{one.how} {where}"
            groups[one.bad.kind, how].append(one.taken_s * 1000)
            groups["all", how].append(one.taken_s * 1000)
    for (kind, how), taken in sorted(groups.items(), key=lambda item: (item[0][0] == "all", item)):
        lines.append(
            f"| {kind} | {how} | {len(taken)} | {statistics.median(taken):.0f} | {max(taken):.0f} |"
        )
    lines += [
        "",
        f"Calls to the neighbours meanwhile: {served}, of which 0 failed. "
        f"Commit {commit()}, {time.strftime('%Y-%m-%d', time.gmtime())}, {os.cpu_count()} cores.",
    ]
    REPORT.write_text("\n".join(lines) + "\n")
