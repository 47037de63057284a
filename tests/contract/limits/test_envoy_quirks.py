"""What Envoy's quota filter does otherwise than its contract says; a test fails if that is gone."""

import asyncio
import contextlib
import json
import subprocess
from datetime import timedelta

import aiohttp
import grpc
import pytest
import pytest_asyncio

from gateway.compile.envoy_api import make, message_class
from gateway.limits.envoy_quirks import ALLOW, told_apart
from gateway.limits.rlqs import METHOD
from tests.fixtures.edge import ENVOY, free_port


pytestmark = pytest.mark.asyncio(loop_scope="module")

PACKAGE = "envoy.service.rate_limit_quota.v3"
TYPES = "type.googleapis.com/envoy.extensions.filters"
QUOTA = f"{TYPES}.http.rate_limit_quota.v3"
SMALL = {"token_bucket": {"max_tokens": 3, "tokens_per_fill": 1, "fill_interval": "3600s"}}
READY_S = 20


class Divider:
    """A quota service that tells each bucket what it is told to."""

    def __init__(self):
        self.strategy = None
        self.told = asyncio.Event()
        self.server = grpc.aio.server()
        service, _, name = METHOD.removeprefix("/").rpartition("/")
        reports = message_class(f"{PACKAGE}.RateLimitQuotaUsageReports")
        handler = grpc.stream_stream_rpc_method_handler(
            self.stream,
            request_deserializer=reports.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
        self.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {name: handler}),)
        )
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    async def stream(self, requests, context):
        async for report in requests:
            for usage in report.bucket_quota_usages:
                action = {
                    "bucket_id": usage.bucket_id,
                    "quota_assignment_action": {
                        "assignment_time_to_live": timedelta(seconds=60),
                        "rate_limit_strategy": self.strategy,
                    },
                }
                made = make(f"{PACKAGE}.RateLimitQuotaResponse", bucket_action=[action])
                await context.write(made)
            self.told.set()


@contextlib.asynccontextmanager
async def envoy(folder, service_port, before):
    """A bare Envoy with one quota; *before* holds while nothing is assigned."""
    port = free_port()
    path = folder / f"{port}.json"
    path.write_text(json.dumps(bootstrap(port, service_port, before)))
    words = [ENVOY, "-c", path, "--use-dynamic-base-id", "--concurrency", "1", "-l", "off"]
    process = subprocess.Popen(words)  # noqa: ASYNC220
    try:
        async with asyncio.timeout(READY_S):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.02)  # polls
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            yield session, process
    finally:
        process.kill()
        process.wait()


def bootstrap(port, service_port, before):
    def address(number):
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    header = {"@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput"}
    settings = {
        "@type": f"{QUOTA}.RateLimitQuotaBucketSettings",
        "bucket_id_builder": {"bucket_id_builder": {"limit": {"string_value": "one"}}},
        "reporting_interval": "5s",
        "no_assignment_behavior": {"fallback_rate_limit": before},
    }
    action = {"action": {"name": "one", "typed_config": settings}}
    quota = {
        "@type": f"{QUOTA}.RateLimitQuotaFilterConfig",
        "rlqs_server": {"envoy_grpc": {"cluster_name": "gateway"}},
        "domain": "test",
        "bucket_matchers": {
            "matcher_tree": {
                "input": {"name": "path", "typed_config": {**header, "header_name": ":path"}},
                "prefix_match_map": {"map": {"/": action}},
            }
        },
    }
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    manager = {
        "@type": f"{TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "quota", "typed_config": quota},
            {"name": "router", "typed_config": {"@type": f"{TYPES}.http.router.v3.Router"}},
        ],
    }
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    http2 = {
        "@type": f"type.googleapis.com/{options}",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    hosts = [{"lb_endpoints": [{"endpoint": {"address": address(service_port)}}]}]
    cluster = {
        "name": "gateway",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "gateway", "endpoints": hosts},
        "typed_extension_protocol_options": {options: http2},
    }
    chain = {"filters": [{"name": "manager", "typed_config": manager}]}
    listener = {"address": address(port), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


@pytest_asyncio.fixture(loop_scope="module")
async def divider():
    made = Divider()
    await made.server.start()
    yield made
    await made.server.stop(0)


async def allowed(session, calls):
    statuses = []
    for _ in range(calls):
        async with session.get("/") as answer:
            statuses.append(answer.status)
    assert set(statuses) <= {200, 429}
    return statuses.count(200)


async def test_a_token_bucket_before_any_assignment_ends_envoy(tmp_path):
    async with envoy(tmp_path, free_port(), SMALL) as (session, process):
        with contextlib.suppress(aiohttp.ClientError):
            await allowed(session, 3)
        assert await asyncio.to_thread(process.wait, READY_S) == -11


async def test_a_blanket_rule_there_is_harmless(tmp_path):
    async with envoy(tmp_path, free_port(), ALLOW) as (session, process):
        assert await allowed(session, 5) == 5
        assert process.poll() is None


def bucket(tokens, seconds):
    fill = timedelta(seconds=seconds)
    return {
        "token_bucket": {
            "max_tokens": tokens,
            "tokens_per_fill": {"value": tokens},
            "fill_interval": fill,
        }
    }


async def told(divider):
    """Wait until the next report was answered."""
    divider.told.clear()
    async with asyncio.timeout(READY_S):
        await divider.told.wait()


async def test_of_a_bucket_that_only_fills_faster_envoy_takes_no_notice(tmp_path, divider):
    slow, fast = bucket(2, 3600), bucket(2, 1)
    divider.strategy = slow
    async with envoy(tmp_path, divider.port, ALLOW) as (session, _):
        await allowed(session, 1)
        await told(divider)
        assert await allowed(session, 6) <= 3
        divider.strategy = fast
        await told(divider)
        await told(divider)
        assert await allowed(session, 3) == 0
        divider.strategy = told_apart(fast, slow)
        await told(divider)
        await told(divider)
        assert await allowed(session, 1) == 1
