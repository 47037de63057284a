"""A syncd in this process, over a real PostgreSQL, NATS and mutual TLS."""

import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc
import pytest

from aerofusion.sync.v1 import (
    frames_pb2,
    space_pb2,
    space_service_pb2,
    space_service_pb2_grpc,
    sync_service_pb2_grpc,
)
from syncd.app import serve
from syncd.settings import Settings


TENANT = "tenants/jfk-airport"
BOARD = f"{TENANT}/spaces/board-jfk"


@dataclass
class Running:
    """One syncd, and channels to it as different peers."""

    ca: Any
    port: int
    _channels: dict[str, grpc.aio.Channel] = field(default_factory=dict)

    def channel(self, service: str) -> grpc.aio.Channel:
        if service not in self._channels:
            peer = self.ca.workload(service)
            self._channels[service] = peer.channel(f"localhost:{self.port}", service="syncd")
        return self._channels[service]

    def sync(self, service: str = "flightinfo") -> Any:
        return sync_service_pb2_grpc.SyncServiceStub(self.channel(service))

    def spaces(self, service: str = "flightinfo") -> Any:
        return space_service_pb2_grpc.SpaceServiceStub(self.channel(service))

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close()


def token(subject: str, *roles: str, tenant: str = "jfk-airport") -> tuple[tuple[str, str], ...]:
    """What the edge sends along for a user whose token it has verified."""
    now = int(time.time())
    claims = {
        "iss": "aerofusion",
        "aud": "aerofusion-mesh",
        "sub": subject,
        "tenant": tenant,
        "roles": list(roles),
        "jti": "1",
        "iat": now,
        "exp": now + 600,
    }
    parts = [{"typ": "JWT", "alg": "ES256", "kid": "k"}, claims]
    encoded = [base64.urlsafe_b64encode(json.dumps(x).encode()).decode().rstrip("=") for x in parts]
    return (
        ("authorization", f"Bearer {'.'.join(encoded)}.c2ln"),
        ("x-aerofusion-claims", encoded[1]),
    )


PASSENGER = token("passengers/p1", "passenger")


def board() -> space_pb2.Space:
    kinds = space_pb2.ValueType
    return space_pb2.Space(
        display_name="Departures",
        schema=space_pb2.Schema(
            fields=[
                space_pb2.Field(name="gate", type=kinds.VALUE_TYPE_STRING),
                space_pb2.Field(name="status", type=kinds.VALUE_TYPE_STRING),
                space_pb2.Field(name="scheduled", type=kinds.VALUE_TYPE_TIMESTAMP),
                space_pb2.Field(name="delay_minutes", type=kinds.VALUE_TYPE_INTEGER),
                space_pb2.Field(name="load", type=kinds.VALUE_TYPE_DOUBLE),
                space_pb2.Field(name="boarding", type=kinds.VALUE_TYPE_BOOLEAN),
                space_pb2.Field(name="picture", type=kinds.VALUE_TYPE_BYTES),
            ]
        ),
        access=space_pb2.AccessPolicy(
            reader_roles=["passenger", "device"], writer_roles=["service"]
        ),
    )


def setting(number: int, record: str = "UA1", *, base_seq: int = 0, hlc: int = 0, **fields: Any):
    values = {}
    for name, value in fields.items():
        if isinstance(value, bool):
            values[name] = frames_pb2.Value(boolean_value=value)
        elif isinstance(value, int):
            values[name] = frames_pb2.Value(integer_value=value)
        elif isinstance(value, float):
            values[name] = frames_pb2.Value(double_value=value)
        elif isinstance(value, bytes):
            values[name] = frames_pb2.Value(bytes_value=value)
        else:
            values[name] = frames_pb2.Value(string_value=value)
    operation = frames_pb2.Operation(record=record, set=frames_pb2.SetFields(fields=values))
    return frames_pb2.Mutation(number=number, base_seq=base_seq, hlc=hlc, operations=[operation])


def batch(*mutations: frames_pb2.Mutation, confirmed_through: int = 0) -> frames_pb2.MutationBatch:
    return frames_pb2.MutationBatch(mutations=mutations, confirmed_through=confirmed_through)


@contextlib.asynccontextmanager
async def started(run_serve, ca, dsn, **settings) -> AsyncIterator[Running]:
    configured = Settings(
        postgres_dsn=dsn,
        **{"poll": timedelta(seconds=0.2), "coalesce": timedelta(0), **settings},
    )
    async with run_serve(serve, configured, workload=ca.workload("syncd")) as port:
        running = Running(ca, port)
        try:
            yield running
        finally:
            await running.close()


@pytest.fixture
async def dsn(postgres):
    return await postgres.database("syncd")


@pytest.fixture
async def syncd(run_serve, ca, dsn):
    async with started(run_serve, ca, dsn) as running:
        yield running


async def create_board(running: Running) -> space_pb2.Space:
    response = await running.spaces().CreateSpace(
        space_service_pb2.CreateSpaceRequest(parent=TENANT, space_id="board-jfk", space=board())
    )
    return response.space


@pytest.fixture
async def flights(syncd) -> space_pb2.Space:
    """The board's space, made by flightinfo."""
    return await create_board(syncd)


def reason(error: grpc.aio.AioRpcError) -> str:
    """The stable reason in a status."""
    from google.rpc import error_details_pb2, status_pb2

    details = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    for detail in status_pb2.Status.FromString(details).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info.reason
    raise AssertionError("no ErrorInfo")
