"""A quota over two replicas of the gateway, each with an edge of its own that reports to it."""

import asyncio
import contextlib
import tempfile
from pathlib import Path

import grpc
import pytest
from google.protobuf import json_format

from aerofusion.gateway.v1 import (
    config_service_pb2,
    config_service_pb2_grpc,
    limit_service_pb2,
    limit_service_pb2_grpc,
    object_pb2,
)
from gateway import model
from gateway.app import serve
from gateway.compile.envoy_api import make, message_class
from gateway.limits.reach import edition
from gateway.limits.rlqs import METHOD
from gateway.settings import Settings
from tests.fixtures.serving import running


pytestmark = pytest.mark.timeout(180)

PACKAGE = "envoy.service.rate_limit_quota.v3"
LIMIT = model.Limit(name="limits/shared", strength=model.Strength.QUOTA, requests=1000, burst=1000)
BUCKET = {"limit": LIMIT.name, "edition": edition(LIMIT)}
BUSY, IDLE = 5000, 10
"""Calls between two reports: more than the whole quota, and next to nothing."""

WITHIN_S = 90
SLACK = 1.02


class Edge:
    """Says what an Envoy says to the quota service, when the test wants it."""

    def __init__(self, channel):
        self._call = channel.stream_stream(
            METHOD,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_class(f"{PACKAGE}.RateLimitQuotaResponse").FromString,
        )()
        self.per_second = 0.0
        """What it may let through by the newest assignment."""

    async def report(self, calls):
        """Report so many calls, and take what is told then."""
        usage = {"bucket_id": {"bucket": BUCKET}, "num_requests_allowed": calls}
        await self._call.write(
            make(
                f"{PACKAGE}.RateLimitQuotaUsageReports",
                domain="aerofusion",
                bucket_quota_usages=[usage],
            )
        )
        for action in (await self._call.read()).bucket_action:
            told = action.quota_assignment_action.rate_limit_strategy
            if told.WhichOneof("strategy") == "token_bucket":
                bucket = told.token_bucket
                self.per_second = bucket.tokens_per_fill.value / bucket.fill_interval.seconds
            else:
                self.per_second = 0.0


class Replica:
    """A gateway with an edge."""

    def __init__(self, operator, edge):
        self.config = config_service_pb2_grpc.ConfigServiceStub(operator)
        self.limits = limit_service_pb2_grpc.LimitServiceStub(operator)
        self.edge = edge

    async def knows(self):
        """Which edges' parts it knows of."""
        answer = await self.limits.GetUsage(limit_service_pb2.GetUsageRequest())
        return {part.edge for usage in answer.usages for part in usage.parts}


@pytest.fixture
async def replicas(postgres, nats_server, ca):
    dsn = await postgres.database("gateway")
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = []
        for number in "01":
            settings = Settings(
                postgres_dsn=dsn,
                replica=number,
                nats_url=nats_server.url,
                unix_socket=folder / f"{number}.sock",
                identity_dir=folder / "identity",
            )
            workload = ca.workload("gateway", number)
            port = await stack.enter_async_context(running(serve, settings, workload=workload))
            operator = grpc.aio.insecure_channel(f"unix:{settings.unix_socket}")
            channel = ca.workload("edge", number).channel(f"127.0.0.1:{port}", service="gateway")
            for one in (operator, channel):
                await stack.enter_async_context(one)
            found.append(Replica(operator, Edge(channel)))
        limit = {
            "name": LIMIT.name,
            "strength": "STRENGTH_QUOTA",
            "requests": LIMIT.requests,
            "burst": LIMIT.burst,
        }
        await put(found[0], {"service": {"name": "services/gateway"}}, {"limit": limit})
        yield found


async def put(replica, *objects):
    wanted = config_service_pb2.ChangeSet(
        objects=[json_format.ParseDict(one, object_pb2.Object()) for one in objects]
    )
    await replica.config.ApplyChange(config_service_pb2.ApplyChangeRequest(change_set=wanted))


async def reported_until(replicas, calls, good):
    """Let both report so many calls each second until *good*; returns the sums on the way."""
    sums = []
    async with asyncio.timeout(WITHIN_S):
        while True:
            for replica, number in zip(replicas, calls, strict=True):
                await replica.edge.report(number)
            shares = [one.edge.per_second / LIMIT.requests for one in replicas]
            sums.append(sum(shares))
            if good(*shares):
                return sums
            await asyncio.sleep(1.0)  # polls; demand is measured over a second at least


async def test_the_shares_of_two_replicas_edges_come_to_the_quota(replicas):
    one, two = replicas
    # Both replicas hear of the bucket before they hear of one another.
    await asyncio.gather(one.edge.report(1), two.edge.report(1))
    await reported_until(
        replicas, (BUSY, BUSY), lambda a, b: a > 0.45 and b > 0.45 and a + b < SLACK
    )
    assert await one.knows() == await two.knows() == {"edge/0", "edge/1"}
    # What one no longer wants the other gets, and never before that has given it back.
    sums = await reported_until(replicas, (IDLE, BUSY), lambda a, b: b > 0.85)
    assert max(sums) < SLACK
    sums = await reported_until(replicas, (BUSY, IDLE), lambda a, b: a > 0.85)
    assert max(sums) < SLACK
