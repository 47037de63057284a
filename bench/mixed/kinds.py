"""The kinds of changes, a row each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, duration_pb2

from aerofusion.gateway.v1 import identity_service_pb2, object_pb2, route_pb2, service_pb2
from bench.backend import LANES
from bench.mixed import credentials, rules
from bench.mixed.objects import route, service
from bench.mixed.world import ORDER_HEADER


if TYPE_CHECKING:
    from bench.mixed.world import World

SAID_EVERY: Final = 1_000

KEPT_NEW: Final = 5
"""New services that stay before the oldest goes."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of change."""

    name: str
    share: int
    """How often it comes, beside the others' shares. Of ten thousand, they are about that many."""

    make: Callable[[World, int], Awaitable[None]]
    """Makes one change; given is how many of its kind came before."""


async def swap_backends(world: World, turn: int) -> None:
    """Each of the backends alone, and both."""
    ports = (world.ports, world.ports[:1], world.ports[1:])[turn % 3]
    await world.apply(service(world, "swap", "Swap", ports=ports))


async def reorder_routes(world: World, turn: int) -> None:
    """Which of two routes that match the same call comes first."""
    await world.apply(*_ordered(turn + 1))


async def rename_route(world: World, turn: int) -> None:
    """The same route under another name."""
    await world.apply(_renamed(turn + 1), deletes=[f"services/name/routes/r{turn}"])


async def move_service(world: World, turn: int) -> None:
    """The same gRPC service from a service of another name, so from another cluster."""
    await world.apply(service(world, f"move-{turn + 1}", "Move"), deletes=[f"services/move-{turn}"])


async def shift_weights(world: World, turn: int) -> None:
    """How much goes to which of two services."""
    await world.apply(_weighed(1 + turn * 7 % 99))


async def change_limit(world: World, turn: int) -> None:
    """What a service takes a second."""
    await world.apply(
        service(
            world,
            "limit",
            "Limit",
            rate_limit=service_pb2.RateLimit(burst=50_000 + turn % 100, per_second=50_000),
        )
    )


async def change_access(world: World, turn: int) -> None:
    """Who may call."""
    roles = ["service", f"others-{turn % 5}"]
    await world.apply(service(world, "swap", "Swap", access=service_pb2.Access(roles=roles)))


async def change_cluster(world: World, turn: int) -> None:
    """How calls are divided and how many there may be: the cluster warms up again."""
    policies = service_pb2.LoadBalancing
    policy = (policies.POLICY_ROUND_ROBIN, policies.POLICY_LEAST_REQUEST, policies.POLICY_RANDOM)
    await world.apply(
        service(
            world,
            "order",
            "Order",
            load_balancing=service_pb2.LoadBalancing(policy=policy[turn % 3]),
            concurrency=service_pb2.ConcurrencyLimits(requests_max=5_000 + turn % 7),
        )
    )


async def new_service(world: World, turn: int) -> None:
    """A service with descriptors and a JSON API comes; an older one goes."""
    made = object_pb2.Object(
        service=service_pb2.Service(
            name=f"services/new-{turn}",
            identity="bench",
            grpc_services=[f"bench.new{turn}.v1.Api"],
            json_prefixes=[f"new{turn}"],
            descriptor_set=_described(turn),
        )
    )
    old = [f"services/new-{turn - KEPT_NEW}"] if turn >= KEPT_NEW else []
    await world.apply(made, deletes=old)


async def rotate_signing_key(world: World, _: int) -> None:
    """The next key signs from now on; the calls come with a token of it."""
    request = identity_service_pb2.RotateKeyRequest()
    try:
        await world.identity.RotateKey(request, wait_for_ready=True)
    except grpc.aio.AioRpcError as error:
        # The next key is too young, or too many are retired: then it is the retired that change.
        if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
            raise
        await world.forget_retired_keys()
    await world.renew_token()


async def new_certificate(world: World, _: int) -> None:
    """The relay is killed, and comes back with another certificate for the public listener."""
    plane = world.plane
    await asyncio.to_thread(plane.kill, "relay")
    (plane.relay_identity / "public.pem").unlink(missing_ok=True)
    await asyncio.to_thread(plane.start_relay)


async def kill_gateway(world: World, turn: int) -> None:
    """The control plane is killed while a change is on its way, and started again."""
    change = asyncio.create_task(swap_backends(world, turn))
    await asyncio.sleep(world.chance.random() * 0.01)  # paces
    await asyncio.to_thread(world.plane.kill, "gateway")
    await asyncio.to_thread(world.plane.start_gateway)
    await change


KINDS: Final = (
    Kind("swap of backends", 1_300, swap_backends),
    Kind("order of routes", 1_100, reorder_routes),
    Kind("name of a route", 1_200, rename_route),
    Kind("name of a service", 1_000, move_service),
    Kind("weights", 1_300, shift_weights),
    Kind("limit", 500, change_limit),
    Kind("local limit", 300, rules.change_local_limit),
    Kind("quota", 200, rules.change_quota),
    Kind("access", 600, change_access),
    Kind("policy", 400, rules.change_policy),
    Kind("balancing and bounds", 1_000, change_cluster),
    Kind("new service with descriptors", 480, new_service),
    Kind("canary", 200, rules.change_by_canary),
    Kind("API key", 100, credentials.change_api_key),
    Kind("revoked token", 100, credentials.revoke_token),
    Kind("certificate of a host", 100, credentials.change_site_certificate),
    Kind("keys of an issuer", 60, credentials.rotate_issuer_keys),
    Kind("signing key", 30, rotate_signing_key),
    Kind("certificate", 15, new_certificate),
    Kind("control plane killed", 15, kill_gateway),
)


def initial(world: World) -> list[object_pb2.Object]:
    """Return the catalog that the changes begin from."""
    made = [service(world, lane.lower(), lane) for lane in LANES if lane != "Move"]
    made.append(service(world, "weigh-b", ports=world.ports[1:]))
    made.append(service(world, "move-0", "Move"))
    # Edges ask for their quotas at the gateway, a service like any other.
    gateway = service_pb2.Service(name="services/gateway", identity="gateway")
    gateway.endpoints.add(address="127.0.0.1", port=world.plane.gateway_port)
    made.append(object_pb2.Object(service=gateway))
    made += [world.airline.object(), credentials.certificate(world), credentials.site()]
    return [*made, *_ordered(0), _renamed(0), _weighed(50)]


async def make_changes(world: World, changes: int, rate: float) -> float:
    """
    Make *changes* of all kinds, at most *rate* a second; returns how long it took, in seconds.

    Which comes when is by chance, how many of each is not: each kind comes at least once.
    """
    total = sum(kind.share for kind in KINDS)
    due = [kind for kind in KINDS for _ in range(max(1, round(kind.share * changes / total)))]
    world.chance.shuffle(due)
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number, kind in enumerate(due):
        wait = began + number / rate - loop.time()
        if wait > 0:
            await asyncio.sleep(wait)
        world.check()
        turn = world.turns[kind.name]
        world.log.append((loop.time(), kind.name))
        await kind.make(world, turn)
        world.turns[kind.name] = turn + 1
        if (number + 1) % SAID_EVERY == 0:
            print(f"  {number + 1} changes, {loop.time() - began:.0f} s", flush=True)
    return loop.time() - began


def _ordered(turn: int) -> list[object_pb2.Object]:
    """Two routes that both match: one looks at more of the header than the other."""
    name, value = ORDER_HEADER
    broad = route_pb2.HeaderMatch(name=name, prefix=value[:1])
    exact = route_pb2.HeaderMatch(name=name, exact=value)
    first, second = (broad, exact) if turn % 2 else (exact, broad)
    other = duration_pb2.Duration(seconds=20)
    return [
        route("order/routes/first", "Order", headers=[first]),
        route("order/routes/second", "Order", headers=[second], timeout=other),
    ]


def _renamed(turn: int) -> object_pb2.Object:
    return route(f"name/routes/r{turn}", "Name")


def _weighed(weight: int) -> object_pb2.Object:
    destinations = [
        route_pb2.Destination(service="services/weigh", weight=weight),
        route_pb2.Destination(service="services/weigh-b", weight=100 - weight),
    ]
    return route("weigh/routes/all", "Weigh", destinations=destinations)


def _described(number: int) -> bytes:
    package = f"bench.new{number}.v1"
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto",
        package=package,
        syntax="proto3",
        dependency=["google/api/annotations.proto"],
    )
    file.message_type.add(name="Message")
    api = file.service.add(name="Api")
    method = api.method.add(
        name="Get", input_type=f".{package}.Message", output_type=f".{package}.Message"
    )
    method.options.Extensions[annotations_pb2.http].get = f"/new{number}/v1/things"
    found = descriptor_pb2.FileDescriptorSet()
    seen: set[str] = set()

    def visit(one: Any) -> None:
        with contextlib.suppress(KeyError):
            if one.name not in seen:
                seen.add(one.name)
                for needed in one.dependencies:
                    visit(needed)
                one.CopyToProto(found.file.add())

    visit(annotations_pb2.DESCRIPTOR)
    found.file.append(file)
    return found.SerializeToString()
