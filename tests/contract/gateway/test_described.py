"""Whether descriptors go together is decided by the catalog, whatever was tried and taken back."""

import base64
import contextlib
import tempfile
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pb2, json_format

from aerofusion.gateway.v1 import config_service_pb2 as rpc
from aerofusion.gateway.v1 import config_service_pb2_grpc as stubs
from aerofusion.gateway.v1 import object_pb2
from meshkit.status import from_rpc_error


def described(message):
    """The descriptors of a file that several services bring, with this message."""
    file = descriptor_pb2.FileDescriptorProto(name="shared.proto", package="shared")
    file.message_type.add(name=message)
    return descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString()


ONE, OTHER = described("One"), described("Other")


def service(name, descriptor_set, **fields):
    given = {
        "name": f"services/{name}",
        "json_prefixes": [name],
        "descriptor_set": base64.b64encode(descriptor_set).decode(),
        **fields,
    }
    return json_format.ParseDict({"service": given}, object_pb2.Object())


@pytest.fixture
async def replicas(gateway, postgres):
    """Two gateways on one database, as operators of each see them."""
    dsn = await postgres.database("gateway")
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for number in range(2):
            socket = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "gateway.sock"
            settings, _ = await stack.enter_async_context(
                gateway(postgres_dsn=dsn, replica=str(number), unix_socket=socket)
            )
            channel = grpc.aio.insecure_channel(f"unix:{settings.unix_socket}")
            found.append(stubs.ConfigServiceStub(await stack.enter_async_context(channel)))
        yield found


async def apply(config, *objects, **fields):
    wanted = rpc.ChangeSet(objects=objects, **fields)
    return await config.ApplyChange(rpc.ApplyChangeRequest(change_set=wanted))


async def conflict(config, *objects):
    """Try a change whose descriptors don't go together; returns which object is told."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await apply(config, *objects)
    error = from_rpc_error(caught.value)
    assert error.reason == "DESCRIPTOR_CONFLICT"
    return error.metadata["object"]


async def test_what_was_only_planned_stands_in_nobodys_way(replicas):
    config, _ = replicas
    planned = rpc.ChangeSet(objects=[service("a", ONE)])
    await config.PlanChange(rpc.PlanChangeRequest(change_set=planned))
    await apply(config, service("b", OTHER))
    assert await conflict(config, service("a", ONE)) == "services/a"


async def test_what_another_replica_wrote_or_took_away_counts(replicas):
    first, second = replicas
    await apply(first, service("a", ONE))
    assert await conflict(second, service("b", OTHER)) == "services/b"
    await apply(first, service("a", ONE, json_prefixes=[]))
    await apply(second, service("b", OTHER))
    assert await conflict(first, service("a", ONE)) == "services/a"
    await apply(second, deletes=["services/b"])
    await apply(first, service("a", ONE))


async def test_objects_of_one_change_must_go_together_too(replicas):
    config, _ = replicas
    assert await conflict(config, service("c", ONE), service("d", OTHER)) == "services/d"
    await apply(config, service("a", ONE), service("b", ONE))
    assert await conflict(config, service("a", OTHER)) == "services/a"
    await apply(config, deletes=["services/a", "services/b"])
    await apply(config, service("c", OTHER), service("d", OTHER))


async def test_what_goes_or_changes_with_it_stands_in_no_ones_way(replicas):
    config, _ = replicas
    await apply(config, service("a", ONE), service("b", ONE))
    await apply(config, service("a", OTHER), service("b", OTHER))
    await apply(config, service("c", ONE), deletes=["services/a", "services/b"])
    assert await conflict(config, service("d", OTHER)) == "services/d"
