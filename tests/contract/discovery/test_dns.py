"""Endpoints from a real DNS server, up to the edge."""

import time
from datetime import timedelta

import dnslib
import pytest
import pytest_asyncio
from dnslib.server import DNSServer

from aerofusion.gateway.v1 import service_pb2
from tests.fixtures.edge import edge, free_port
from tests.fixtures.endpoints import answered, has_hosts, hosts, later, load, until


pytestmark = pytest.mark.asyncio(loop_scope="module")

EMPTY_GRACE_S = 2.0
NAME = "_grpc._tcp.echo.example."
OUT_WITHIN_S = 2.0


class Zone:
    """What the server answers; may be changed at any time."""

    def __init__(self):
        self.records = {}
        self.rcode = dnslib.RCODE.NOERROR
        self.questions = []

    def put(self, name, *records, ttl=1):
        self.records[name] = [
            dnslib.RR(name, getattr(dnslib.QTYPE, type(one).__name__), ttl=ttl, rdata=one)
            for one in records
        ]

    def put_ports(self, *ports):
        self.put(NAME, *(dnslib.SRV(0, 10, port, "replica.echo.example.") for port in ports))

    def resolve(self, request, handler):
        name = str(request.q.qname)
        self.questions.append((time.monotonic(), name, request.q.qtype))
        reply = request.reply()
        reply.header.rcode = self.rcode
        if self.rcode == dnslib.RCODE.NOERROR:
            found = self.records.get(name)
            if found is None:
                reply.header.rcode = dnslib.RCODE.NXDOMAIN
            for one in found or ():
                if one.rtype == request.q.qtype:
                    reply.add_answer(one)
        return reply


class _Quiet:
    def __getattr__(self, name):
        return lambda *args: None


@pytest.fixture(scope="module")
def zone():
    made = Zone()
    made.port = free_port()
    server = DNSServer(made, port=made.port, address="127.0.0.1", logger=_Quiet())
    server.start_thread()
    yield made
    server.stop()
    server.server.server_close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh(postgres, zone):
    settings = {
        "dns_servers": f"127.0.0.1:{zone.port}",
        "dns_timeout": timedelta(milliseconds=300),
        "discovery_empty_grace": timedelta(seconds=EMPTY_GRACE_S),
    }
    async with edge(postgres, **settings) as made:
        made.servers = [await made.echo("0"), await made.echo("1")]
        zone.put("replica.echo.example.", dnslib.A("127.0.0.1"))
        yield made


def found_by_dns(hostname="_grpc._tcp.echo.example", **fields):
    return service_pb2.Discovery(dns=service_pb2.DnsDiscovery(hostname=hostname, **fields))


async def test_records_become_endpoints_and_follow_the_zone(mesh, zone):
    one, two = (server.port for server in mesh.servers)
    zone.put_ports(one)
    await mesh.put_service("echo", discovery=found_by_dns())
    await has_hosts(mesh, one)
    zone.put_ports(one, two)
    await has_hosts(mesh, one, two)
    async with load(mesh) as results:
        await until("answers of both", answered(results, "echo-0", "echo-1"))
        zone.put_ports(two)
        await has_hosts(mesh, two)
    assert {said for _, said in results} == {"echo-0", "echo-1"}


async def test_the_ttl_is_obeyed(mesh, zone):
    one = mesh.servers[0].port
    zone.put("slow.example.", dnslib.A("127.0.0.1"), ttl=60)
    zone.put("quick.example.", dnslib.A("127.0.0.1"), ttl=1)
    for name in ("slow", "quick"):
        await mesh.put_service(
            name,
            grpc_services=[],
            json_prefixes=[],
            discovery=found_by_dns(f"{name}.example", port=one),
        )
    asked = []

    async def thrice():
        asked[:] = [at for at, name, kind in zone.questions if name == "quick.example."]
        return len(asked) >= 6  # For A and AAAA each time.

    await until("the name to be asked for again", thrice)
    assert 0.85 <= asked[2] - asked[0] <= 3.0
    assert sum(name == "slow.example." for _, name, _ in zone.questions) == 2


async def test_a_server_that_fails_empties_nothing_and_one_that_denies_the_name_does(mesh, zone):
    one, two = (server.port for server in mesh.servers)
    zone.put_ports(one, two)
    await mesh.put_service("echo", discovery=found_by_dns())
    await has_hosts(mesh, one, two)
    zone.rcode = dnslib.RCODE.SERVFAIL
    before = len(zone.questions)

    async def asked_again():
        return len(zone.questions) >= before + 3 and zone.questions[-1][0] > began + 1.5

    began = time.monotonic()
    await until("questions that fail", asked_again)
    assert set(await hosts(mesh)) == {one, two}
    zone.rcode = dnslib.RCODE.NXDOMAIN
    denied = time.monotonic()
    await has_hosts(mesh)
    assert time.monotonic() - denied >= EMPTY_GRACE_S
    zone.rcode = dnslib.RCODE.NOERROR
    await has_hosts(mesh, one, two)


async def test_a_dead_replica_in_dns_is_out_by_the_edges_own_checks(
    mesh, zone, replicas, record_property
):
    alive = mesh.servers[0].port
    dying = await replicas.start("dns", lease_s=0)
    zone.put_ports(alive, dying)
    check = {"interval": {"nanos": 500_000_000}, "unhealthy_threshold": 2}
    await mesh.put_service("echo", discovery=found_by_dns(), health_check=check)
    await has_hosts(mesh, alive, dying)
    async with load(mesh) as results:
        await until("answers of both", answered(results, "echo-0", "echo-dns"))
        killed = await replicas.kill("dns")
        await until("calls after that", later(results, killed + OUT_WITHIN_S + 0.5))
    failed = [began for began, said in results if said != "echo-0" and began > killed]
    last_s = max(failed, default=killed) - killed
    record_property("last_failed_call_began_s", round(last_s, 3))
    assert last_s < OUT_WITHIN_S
    assert set(await hosts(mesh)) == {alive, dying}  # DNS still has it.
