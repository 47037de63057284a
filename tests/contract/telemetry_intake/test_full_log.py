"""A log that is full: who sends is told how long to wait, in the words of its protocol."""

import time

import aiohttp
import grpc
import pytest
import pytest_asyncio
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from telemetry.intake.service import METHODS
from telemetry.scan.shapes import Signal
from telemetry.settings import Settings
from tests.contract.telemetry_intake import otlp_requests
from tests.contract.telemetry_intake.running import served


pytestmark = pytest.mark.asyncio(loop_scope="module")
LOG_BYTES_MAX = 500


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(ca, tmp_path_factory):
    """The gRPC port and the HTTP socket of a service with a small log."""
    folder = tmp_path_factory.mktemp("telemetry")
    settings = Settings(
        state_dir=folder / "state", http_unix_socket=folder / "h", log_bytes_max=LOG_BYTES_MAX
    )
    async with served(settings, ca) as service:
        yield service.port, settings.http_unix_socket


@pytest.fixture
def request_():
    request = otlp_requests.gauges("g", range(100), time.time_ns())
    assert len(request) > LOG_BYTES_MAX
    return request


async def test_a_sender_over_grpc_is_told_how_long_to_wait(service, ca, request_):
    address = f"127.0.0.1:{service[0]}"
    async with ca.workload("edge").channel(address, service="telemetry") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary(METHODS[Signal.METRICS])(request_, timeout=30)

    status = rpc_status.from_call(refused.value)
    retry = RetryInfo()
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert any(detail.Unpack(retry) for detail in status.details)
    assert retry.retry_delay.seconds > 0


async def test_a_sender_over_http_is_told_how_long_to_wait(service, request_):
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(service[1]))) as session,
        session.post(
            "http://t/v1/metrics",
            headers={"Content-Type": "application/x-protobuf"},
            data=request_,
        ) as answer,
    ):
        body = await answer.read()

    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert Status.FromString(body).code == 8
