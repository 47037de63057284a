"""KEDA's contract, called as KEDA calls it."""

import time

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from externalscaler import externalscaler_pb2 as pb
from meshkit.status import from_rpc_error
from telemetry.scaler.service import METRIC
from tests.contract.telemetry_trends.conftest import END_MS, HOURS, load


pytestmark = pytest.mark.asyncio(loop_scope="module")


def ref(**metadata):
    return pb.ScaledObjectRef(
        name="notifier",
        namespace="mesh",
        scalerMetadata={"scalerAddress": "telemetry:8443", "query": "load", "target": "20"}
        | metadata,
    )


async def metric(asking, **metadata):
    request = pb.GetMetricsRequest(scaledObjectRef=ref(**metadata), metricName=METRIC)
    (value,) = (await asking.scaler.GetMetrics(request)).metricValues
    assert value.metricName == METRIC
    return value


async def test_the_target_is_told_whole_and_in_full(asking):
    (spec,) = (await asking.scaler.GetMetricSpec(ref(target="2.5"))).metricSpecs

    assert (spec.metricName, spec.targetSize, spec.targetSizeFloat) == (METRIC, 3, 2.5)


async def test_the_metric_is_the_most_that_is_coming(asking):
    since = (time.time_ns() // 1_000_000 - END_MS) / 3_600_000
    hours = HOURS - 1 + since + np.arange(0, 13)

    value = await metric(asking, ahead="12h", history="28d", quantile="0.5")

    assert value.metricValueFloat == pytest.approx(load(np.floor(hours)).max(), rel=0.15)
    assert value.metricValue >= value.metricValueFloat


async def test_further_ahead_there_is_no_less(asking):
    near = await metric(asking, ahead="1h", history="28d")
    far = await metric(asking, ahead="24h", history="28d")

    assert far.metricValueFloat >= near.metricValueFloat


async def test_without_a_past_it_is_what_is_there(asking):
    value = await metric(asking, query="vector(7)", history="1h", ahead="1m")

    assert value.metricValueFloat == 7


async def test_a_service_without_load_needs_no_replica(asking):
    quiet = await asking.scaler.IsActive(ref(query="absent_metric"))
    busy = await asking.scaler.IsActive(ref(query="vector(1)", history="1h"))

    assert (quiet.result, busy.result) == (False, True)


async def test_a_stream_tells_at_once_whether_any_replica_is_needed(asking):
    call = asking.scaler.StreamIsActive(ref(query="vector(1)", history="1h"))

    first = await call.read()

    assert first.result is True
    call.cancel()


async def test_every_field_that_is_wrong_is_named(asking):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asking.scaler.GetMetricSpec(
            ref(target="-1", ahead="soon", quantile="2", colour="red")
        )

    error = from_rpc_error(caught.value)
    assert error.reason == "INVALID_TRIGGER"
    assert set(error.field_violations) == {"target", "ahead", "quantile", "colour"}


async def test_another_metric_is_not_there(asking):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asking.scaler.GetMetrics(
            pb.GetMetricsRequest(scaledObjectRef=ref(), metricName="other")
        )

    assert from_rpc_error(caught.value).reason == "METRIC_NOT_FOUND"


def published():
    """KEDA's MetricValue, declared anew as KEDA publishes it: names, numbers, types."""
    file = FileDescriptorProto(name="keda.proto", package="keda", syntax="proto3")
    message = file.message_type.add(name="MetricValue")
    kinds = FieldDescriptorProto
    for name, number, kind in (
        ("metricName", 1, kinds.TYPE_STRING),
        ("metricValue", 2, kinds.TYPE_INT64),
        ("metricValueFloat", 3, kinds.TYPE_DOUBLE),
    ):
        message.field.add(name=name, number=number, type=kind, label=kinds.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("keda.MetricValue"))


async def test_what_is_sent_is_what_keda_reads(asking):
    value = await metric(asking, query="vector(7)", history="1h", ahead="1m")

    read = published().FromString(value.SerializeToString())

    assert (read.metricName, read.metricValue, read.metricValueFloat) == (METRIC, 7, 7.0)
