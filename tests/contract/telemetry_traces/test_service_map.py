"""Spans of several processes, each in a request of its own and out of order, become a map."""

import asyncio
import json
from datetime import timedelta

import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp
from opentelemetry.trace import SpanKind

from aerofusion.telemetry.v1 import map_service_pb2 as pb
from aerofusion.telemetry.v1 import map_service_pb2_grpc as pb_grpc
from telemetry.app import serve
from telemetry.settings import Settings
from tests.contract.telemetry_traces.sending import NOW_NS, services, until
from tests.contract.telemetry_traces.test_meshctl import meshctl
from tests.fixtures.serving import running


pytestmark = pytest.mark.asyncio(loop_scope="module")
WINDOW = {
    "start_time": Timestamp(seconds=NOW_NS // 10**9),
    "end_time": Timestamp(seconds=NOW_NS // 10**9 + 300),
}
EXPECTED = {
    ("", "edge", pb.EDGE_KIND_RPC, False): (20, 0),
    ("edge", "shop", pb.EDGE_KIND_RPC, False): (20, 5),
    ("shop", "pay", pb.EDGE_KIND_RPC, False): (20, 0),
    ("shop", "postgresql", pb.EDGE_KIND_DATABASE, True): (20, 0),
    ("pay", "bank.example", pb.EDGE_KIND_EXTERNAL, True): (20, 0),
    ("pay", "mails", pb.EDGE_KIND_MESSAGING, False): (20, 0),
}


def send(ca, port):
    """20 requests; spans end, and so are sent, in an order that differs from one to the next."""
    with services(ca, port, "edge", "shop", "pay", "mails") as (edge, shop, pay, mails):
        for i in range(20):
            start, spans = i * 1000, []

            def begin(service, *args, start=start, spans=spans, **more):
                made = service.begin(args[0], start, *args[1:], **more)
                spans.append((service, made))
                return made

            root = begin(edge, "GET /", kind=SpanKind.SERVER)
            call = begin(edge, "Shop", root, kind=SpanKind.CLIENT)
            shopping = begin(shop, "Shop", call, kind=SpanKind.SERVER, error=i % 4 == 0)
            begin(shop, "SELECT", shopping, kind=SpanKind.CLIENT, db__system="postgresql")
            paying = begin(shop, "Pay", shopping, kind=SpanKind.CLIENT, peer__service="ignored")
            paid = begin(pay, "Pay", paying, kind=SpanKind.SERVER)
            begin(pay, "POST", paid, kind=SpanKind.CLIENT, server__address="bank.example")
            sent = begin(pay, "receipt", paid, kind=SpanKind.PRODUCER, messaging__system="nats")
            begin(mails, "receipt", sent, kind=SpanKind.CONSUMER)
            for n in range(len(spans)):
                service, made = spans[(n * 4 + i) % len(spans)]
                service.end(made, start + 10 + i)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(ca, tmp_path_factory):
    folder = tmp_path_factory.mktemp("telemetry")
    return Settings(
        state_dir=folder / "state",
        unix_socket=folder / "telemetry.sock",
        map_wait=timedelta(seconds=1),
    )


def edges_of(answer):
    return {
        (one.client, one.server, one.kind, one.virtual): (one.calls, one.errors)
        for one in answer.edges
        if one.server != "telemetry"
    }


async def test_every_edge_is_right_and_stays_over_a_restart(ca, served):
    async with running(serve, served, workload=ca.workload("telemetry")) as port:
        await asyncio.to_thread(send, ca, port)
        async with ca.workload("operator").channel(
            f"127.0.0.1:{port}", service="telemetry"
        ) as channel:
            stub = pb_grpc.MapServiceStub(channel)
            answer = await until(
                lambda: stub.GetServiceMap(pb.GetServiceMapRequest(**WINDOW)),
                lambda answer: sum(calls for calls, _ in edges_of(answer).values()) >= 120,
            )
            assert edges_of(answer) == EXPECTED
            (edge,) = [one for one in answer.edges if (one.client, one.server) == ("edge", "shop")]
            assert edge.rate == pytest.approx(20 / 300)
            assert edge.mean_duration.ToNanoseconds() == 19_500_000
            assert sum(one.calls for one in edge.latency) == 20
            assert 17 <= edge.p50_duration.ToNanoseconds() / 1e6 <= 23
            assert edge.p99_duration.ToNanoseconds() <= 35e6
            only = await stub.GetServiceMap(pb.GetServiceMapRequest(service="pay", **WINDOW))
            assert len(only.edges) == 3
            later = pb.GetServiceMapRequest(start_time=WINDOW["end_time"])
            assert not [
                one for one in (await stub.GetServiceMap(later)).edges if one.client == "shop"
            ]
    async with running(serve, served, workload=ca.workload("telemetry")):
        start = WINDOW["start_time"].ToDatetime().isoformat()
        end = WINDOW["end_time"].ToDatetime().isoformat()
        words = ("map", "--since", start, "--until", end)
        code, out, _ = await meshctl(served.unix_socket, *words, "--json")
        assert code == 0
        edges = json.loads(out)["edges"]
        assert sum(int(one["calls"]) for one in edges if one["server"] != "telemetry") == 120
        code, out, _ = await meshctl(served.unix_socket, *words, "shop")
        rows = {line.split("  ")[0].strip(): line.split() for line in out.splitlines()[1:]}
        assert set(rows) == {"edge ──▶ shop", "shop ──▶ pay", "shop ──▷ postgresql"}
        assert rows["edge ──▶ shop"][3:8] == ["20", "0.0667", "5", "25", "%"]
