"""What the edge's Envoy counts, as telemetry gets it."""

import asyncio

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2

from tests.fixtures.echo import EchoMessage, EchoStub
from tests.fixtures.edge import bearer, edge, free_port


WITHIN_S = 20
METRICS = "opentelemetry.proto.collector.metrics.v1.MetricsService"


class Telemetry:
    """Keeps the newest of each series that the relay tells."""

    def __init__(self, workload, port):
        self.points = {}
        self.told = asyncio.Event()
        self.server = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(
            self._export,
            request_deserializer=metrics_service_pb2.ExportMetricsServiceRequest.FromString,
            response_serializer=lambda response: response.SerializeToString(),
        )
        self.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(METRICS, {"Export": handler}),)
        )
        self.server.add_secure_port(f"127.0.0.1:{port}", workload.server_credentials())

    async def _export(self, request, _):
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    data = getattr(metric, metric.WhichOneof("data"))
                    for point in data.data_points:
                        tags = {one.key: one.value.string_value for one in point.attributes}
                        self.points[metric.name, frozenset(tags.items())] = point
        self.told.set()
        return metrics_service_pb2.ExportMetricsServiceResponse()

    def sum_of(self, name, **tags):
        """Sum of the series that have *tags*; of histograms, the count."""
        found = [
            point
            for (metric, labels), point in self.points.items()
            if metric == name and set(tags.items()) <= labels
        ]
        return sum(getattr(point, "count", 0) or getattr(point, "as_int", 0) for point in found)

    async def until(self, holds):
        async with asyncio.timeout(WITHIN_S):
            while not holds():
                self.told.clear()
                await self.told.wait()


@pytest.fixture
async def mesh(postgres):
    port = free_port()
    async with edge(postgres, telemetry=f"127.0.0.1:{port}") as made:
        telemetry = Telemetry(await made.workload("telemetry"), port)
        await telemetry.server.start()
        made.telemetry = telemetry
        made.server = await made.echo()
        await made.put_service("echo", made.server)
        await made.settled()
        yield made
        await telemetry.server.stop(0)


async def test_telemetry_learns_what_a_service_answers_and_how_fast(mesh):
    telemetry = mesh.telemetry
    metadata = bearer(await mesh.token())
    of_echo = {"service": "services/echo", "edge": "edge"}
    async with mesh.channel() as channel:
        for _ in range(5):
            await EchoStub(channel).Echo(EchoMessage(text="x"), metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError):
            await EchoStub(channel).Echo(
                EchoMessage(text="x")
            )  # Refused here: no answer of echo's.
        await telemetry.until(
            lambda: (
                telemetry.sum_of("edge.service.duration", **of_echo) == 5
                and telemetry.sum_of("edge.service.rpcs", outcome="ok", **of_echo) == 5
            )
        )
        assert telemetry.sum_of("edge.service.requests", **of_echo) == 5
        await mesh.server.stop()
        with pytest.raises(grpc.aio.AioRpcError):
            await EchoStub(channel).Echo(EchoMessage(text="x"), metadata=metadata)
        await telemetry.until(
            lambda: telemetry.sum_of("edge.service.rpcs", outcome="server_error", **of_echo) == 1
        )
        await telemetry.until(
            lambda: telemetry.sum_of("edge.service.requests", code="5xx", **of_echo) == 1
        )
    assert telemetry.sum_of("envoy.server.live") == 1
    assert telemetry.sum_of("envoy.http.downstream_rq_total") >= 7
    assert 50 < len(telemetry.points) < 400
