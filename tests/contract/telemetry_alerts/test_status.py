"""The platform's status table over gRPC, of what services tell of themselves."""

import time

import pytest
from google.protobuf.duration_pb2 import Duration
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from aerofusion.telemetry.v1 import status_service_pb2 as pb
from meshkit.errors import InvalidInput, NotFound
from telemetry.intake.service import METHODS
from telemetry.scan.shapes import Signal
from tests.contract.telemetry_alerts.reaching import is_firing, ready, refused


pytestmark = pytest.mark.timeout(600)  # The first start on a machine compiles.

State = pb.ServiceStatus
RULE = """
groups:
  - name: shop
    rules:
      - alert: ShopSlow
        expr: process_memory_usage_bytes{job="acme/shop"} > 0
        labels: {severity: page}
"""


def told(service, minutes_ago, *, calls=0, failed=0, edge=False):
    """What a process tells of itself, as it stood so long ago."""
    at_ns = time.time_ns() - int(minutes_ago * 60e9)
    request = ExportMetricsServiceRequest()
    target = request.resource_metrics.add()
    for key, value in (("service.name", service), ("service.namespace", "acme")):
        target.resource.attributes.add(key=key).value.string_value = value
    add = target.scope_metrics.add().metrics.add
    memory = add(name="process.memory.usage", unit="By").gauge
    memory.data_points.add(time_unix_nano=at_ns, as_int=64 << 20)
    cpu = add(name="process.cpu.time", unit="s").sum
    cpu.aggregation_temporality, cpu.is_monotonic = 2, True
    cpu.data_points.add(time_unix_nano=at_ns, as_double=(60 - minutes_ago) * 6)
    if edge:
        requests = add(name="edge.service.requests").sum
        requests.aggregation_temporality, requests.is_monotonic = 2, True
        for code, count in (("2xx", calls - failed), ("5xx", failed)):
            point = requests.data_points.add(time_unix_nano=at_ns, as_int=count)
            point.attributes.add(key="service").value.string_value = "shop"
            point.attributes.add(key="code").value.string_value = code
        return request.SerializeToString()
    duration = add(name="rpc.server.call.duration", unit="s").histogram
    duration.aggregation_temporality = 2
    for code, count in (("OK", calls - failed), ("INTERNAL", failed)):
        point = duration.data_points.add(
            time_unix_nano=at_ns,
            count=count,
            sum=0.1 * count,
            bucket_counts=[count, 0],
            explicit_bounds=[0.2],
        )
        point.attributes.add(key="rpc.response.status_code").value.string_value = code
    return request.SerializeToString()


async def listed(service, **asked):
    answer = await service.statuses.ListServiceStatuses(pb.ListServiceStatusesRequest(**asked))
    return {one.name.removeprefix("serviceStatuses/"): one for one in answer.service_statuses}


async def test_each_service_has_a_row_of_what_it_does_and_takes(running, dsn):
    async with running(dsn) as service:
        await ready(service)
        said = []
        for step in range(41):  # Ten minutes, each quarter of a minute.
            ago = 10 - step / 4
            said += [
                told("shop", ago, calls=100 * step, failed=10 * step),
                told("edge", ago, calls=200 * step, edge=True),
            ]
            if not 3 < ago < 5:
                said.append(told("till", ago))
            if ago > 2:
                said.append(told("old", ago, calls=step))
        # Messages behind one another are one message with all of their fields.
        await service.channel.unary_unary(METHODS[Signal.METRICS])(b"".join(said))
        await service.found('count_over_time(process_memory_usage_bytes{job="acme/old"}[15m]) > 30')
        await service.apply(RULE)
        await service.until(is_firing)

        rows = await listed(service, window=Duration(seconds=600))
        shop, edge, till, old = (rows[name] for name in ("shop", "edge", "till", "old"))
        # 400 calls a minute, one in ten fails, each takes less than 0.2 s; 6 s of CPU a minute.
        assert shop.requests_per_minute == pytest.approx(400, rel=0.05)
        assert shop.error_share == pytest.approx(0.1, rel=0.05)
        assert 0 < shop.p99_duration.ToNanoseconds() <= 200_000_000
        assert shop.cpu_cores == pytest.approx(0.1, rel=0.05)
        assert shop.memory_bytes == 64 << 20
        assert (shop.instances, shop.firing_alerts) == (1, 1)
        assert shop.state == State.STATE_DEGRADED
        assert edge.requests_per_minute == pytest.approx(800, rel=0.05)
        assert (edge.error_share, edge.state) == (0, State.STATE_UP)
        assert edge.uptime == 1
        assert till.uptime == pytest.approx(0.85, abs=0.06)
        assert till.up_time.ToNanoseconds() > shop.up_time.ToNanoseconds()
        assert (old.state, old.instances) == (State.STATE_DOWN, 0)
        assert not old.HasField("up_time")

        request = pb.ListServiceStatusesRequest(window=Duration(seconds=600), page_size=2)
        names = []
        while True:
            page = await service.statuses.ListServiceStatuses(request)
            names += [one.name for one in page.service_statuses]
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        assert names == sorted(f"serviceStatuses/{name}" for name in rows)
        get = pb.GetServiceStatusRequest(name="serviceStatuses/till")
        one = (await service.statuses.GetServiceStatus(get)).service_status
        assert (one.name, one.state) == (till.name, State.STATE_UP)


async def test_what_was_not_heard_of_and_what_can_not_be_looked_at_is_refused(running, dsn):
    async with running(dsn) as service:
        await ready(service)
        get = pb.GetServiceStatusRequest(name="serviceStatuses/nobody")
        assert isinstance(await refused(service.statuses.GetServiceStatus(get)), NotFound)
        short = pb.ListServiceStatusesRequest(window=Duration(seconds=10))
        bad = await refused(service.statuses.ListServiceStatuses(short))
        assert isinstance(bad, InvalidInput)
        assert list(bad.field_violations) == ["window"]
