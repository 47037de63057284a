"""How much is taken: of a tenant, of a metric; and what its sender is told of the rest."""

import asyncio
import time

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from meshkit.errors import FailedPrecondition, Overloaded
from telemetry.scan.shapes import Signal
from telemetry.settings import Settings
from tests.contract.telemetry_intake import otlp_requests
from tests.contract.telemetry_intake.remote_writes import write_1, write_2
from tests.contract.telemetry_intake.running import opened, samples_of


@pytest.fixture
def settings(tmp_path):
    def settings(**chosen):
        return Settings(state_dir=tmp_path / "state", **chosen)

    return settings


def counters(users, at_ns, value=1.0, route="/a"):
    """A cumulative counter with a label that explodes and one that doesn't."""
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="calls")
    metric.sum.aggregation_temporality, metric.sum.is_monotonic = 2, True
    for user in users:
        point = metric.sum.data_points.add(time_unix_nano=at_ns, as_double=value)
        point.attributes.add(key="user.id").value.string_value = f"u{user}"
        point.attributes.add(key="route").value.string_value = route
    return request.SerializeToString()


async def test_the_label_that_explodes_is_folded_and_its_sender_is_told(settings):
    now = time.time_ns()
    async with opened(settings(metric_series_max=20)) as (sessions, pipeline):
        few = await pipeline.intake.accept(Signal.METRICS, counters(range(15), now))
        many = await pipeline.intake.accept(Signal.METRICS, counters(range(500), now + 10**9))
        await pipeline.loader.flush()
        found = await samples_of(sessions, "calls_total")
        account = pipeline.ledger.of(Signal.METRICS, "")

    folded = tuple(
        sorted({"__name__": "calls_total", "route": "/a", "user_id": "__overflow__"}.items())
    )
    assert (few.refused, few.message) == (0, "")
    assert many.refused == 0
    assert "485 FOLDED" in many.message
    # Known series go on; what the others come to is right.
    assert len(found) == 16
    assert found[folded] == [485.0]
    assert sum(values[-1] for values in found.values()) == 500
    assert (account.received, account.stored, account.folded) == (515, 515, 485)


async def test_what_is_folded_stays_folded_over_a_restart(settings):
    now = time.time_ns()
    chosen = settings(metric_series_max=20)
    async with opened(chosen) as (_, pipeline):
        await pipeline.intake.accept(Signal.METRICS, counters(range(100), now))
    async with opened(chosen) as (sessions, pipeline):
        await pipeline.intake.accept(Signal.METRICS, counters(range(50, 60), now + 10**9))
        await pipeline.loader.flush()
        found = await samples_of(sessions, "calls_total")

    assert list(found.values()) == [[100.0, 10.0]]


async def test_where_several_labels_explode_all_are_folded(settings):
    now = time.time_ns()
    async with opened(settings(metric_series_max=20)) as (sessions, pipeline):
        for route in range(50):
            await pipeline.intake.accept(
                Signal.METRICS, counters(range(2), now + route, route=f"/{route}")
            )
        await pipeline.intake.accept(Signal.METRICS, counters(range(100, 160), now + 10**9))
        await pipeline.loader.flush()
        found = await samples_of(sessions, "calls_total")

    assert len(found) < 100
    assert pipeline.admission.folded_metrics == 1


@pytest.mark.parametrize(
    ("signal", "write"), [(Signal.REMOTE_WRITE, write_1), (Signal.REMOTE_WRITE_2, write_2)]
)
async def test_remote_writes_are_folded_too(settings, signal, write):
    now = time.time_ns() // 1_000_000
    async with opened(settings(metric_series_max=20)) as (sessions, pipeline):
        for first in (0, 15, 30):
            series = [
                ({"__name__": "g", "job": "j", "user": str(n)}, [(1.0, now)])
                for n in range(first, first + 15)
            ]
            await pipeline.intake.accept(signal, write(*series))
        await pipeline.loader.flush()
        found = await samples_of(sessions, "g")

    assert {dict(labels)["user"] for labels in found} == {"__overflow__", *map(str, range(15))}


async def test_beyond_a_tenants_series_known_ones_go_on_and_others_are_refused(settings):
    now = time.time_ns()
    async with opened(settings(tenant_series_max=1_000)) as (sessions, pipeline):
        accept = pipeline.intake.accept
        await accept(Signal.METRICS, otlp_requests.gauges("g", range(1_000), now), "lounge")
        beyond = await accept(
            Signal.METRICS, otlp_requests.gauges("g", range(1_010), now + 10**9), "lounge"
        )
        other = await accept(Signal.METRICS, otlp_requests.gauges("g", range(5), now), "gate")
        await pipeline.loader.flush()
        found = await samples_of(sessions, "g", "lounge")
        account = pipeline.ledger.of(Signal.METRICS, "lounge")

    assert (beyond.refused, beyond.message) == (10, "10 SERIES_LIMIT")
    assert other.refused == 0
    assert {len(values) for values in found.values()} == {2}
    assert account.refused == {"SERIES_LIMIT": 10}
    assert account.received == account.stored + 10 == 2_010


async def test_a_tenant_that_sends_too_fast_waits_and_others_dont(settings):
    now = time.time_ns()
    request = otlp_requests.gauges("g", range(1_500), now)
    async with opened(settings(tenant_points_per_s=1_000)) as (_, pipeline):
        accept = pipeline.intake.accept
        await accept(Signal.METRICS, request, "lounge")
        with pytest.raises(Overloaded) as refused:
            await accept(Signal.METRICS, request, "lounge")
        other = await accept(Signal.METRICS, request, "gate")
        account = pipeline.ledger.of(Signal.METRICS, "lounge")

    assert refused.value.reason == "TENANT_RATE"
    assert refused.value.retry_after.total_seconds() >= 1
    assert other.refused == 0
    assert (account.received, account.stored) == (3_000, 1_500)
    assert account.refused == {"TENANT_RATE": 1_500}


async def test_a_tenant_that_brings_too_many_new_series_waits_and_others_dont(settings):
    now = time.time_ns()
    gauges = otlp_requests.gauges
    async with opened(settings(tenant_new_series_per_s=1_000)) as (_, pipeline):
        accept = pipeline.intake.accept
        known = gauges("g", range(1_000), now)
        await accept(Signal.METRICS, known, "lounge")
        waiting = [
            asyncio.ensure_future(accept(Signal.METRICS, gauges(name, range(1_500), now), "lounge"))
            for name in "hijk"
        ]
        await asyncio.sleep(0)  # Each has been judged, and waits for up to five seconds.
        with pytest.raises(Overloaded) as refused:
            await accept(Signal.METRICS, gauges("l", range(1_500), now), "lounge")
        again = await accept(Signal.METRICS, known, "lounge")
        other = await accept(Signal.METRICS, gauges("g", range(1_000), now), "gate")
        waited = await asyncio.gather(*waiting)
        account = pipeline.ledger.of(Signal.METRICS, "lounge")

    assert refused.value.reason == "SERIES_RATE"
    assert refused.value.retry_after.total_seconds() >= 1
    assert [one.refused for one in (again, other, *waited)] == [0] * 6
    assert (account.received, account.stored) == (9_500, 8_000)
    assert account.refused == {"SERIES_RATE": 1_500}


async def test_a_request_that_is_given_up_while_it_waits_is_accounted_for(settings):
    now = time.time_ns()
    gauges = otlp_requests.gauges
    async with opened(settings(tenant_new_series_per_s=1_000)) as (_, pipeline):
        accept = pipeline.intake.accept
        await accept(Signal.METRICS, gauges("g", range(1_500), now), "lounge")
        waits = asyncio.ensure_future(
            accept(Signal.METRICS, gauges("h", range(1_500), now), "lounge")
        )
        await asyncio.sleep(0)  # It has been judged, and waits.
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        account = pipeline.ledger.of(Signal.METRICS, "lounge")

    assert (account.received, account.stored) == (3_000, 1_500)
    assert account.refused == {"CALL_CANCELLED": 1_500}


async def test_there_are_only_so_many_tenants(settings):
    request = otlp_requests.logs(time.time_ns())
    async with opened(settings(tenants_max=2)) as (_, pipeline):
        for tenant in ("a", "b", "a", ""):
            await pipeline.intake.accept(Signal.LOGS, request, tenant)
        with pytest.raises(FailedPrecondition) as refused:
            await pipeline.intake.accept(Signal.LOGS, request, "c")

    assert refused.value.reason == "TENANTS_LIMIT"
