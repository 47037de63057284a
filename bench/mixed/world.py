"""What is changed, and what calls it meanwhile."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import random
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import aiohttp
import asyncpg
import grpc

from aerofusion.gateway.v1 import (
    config_service_pb2,
    config_service_pb2_grpc,
    identity_service_pb2,
    identity_service_pb2_grpc,
    key_service_pb2,
    key_service_pb2_grpc,
    object_pb2,
)
from bench.backend import LANES
from bench.control_plane import ControlPlane
from bench.load import Sample, open_loop
from bench.mixed.issuer import Airline
from bench.mixed.site import Site


STREAMS: Final = 50
PING_EVERY_S: Final = 1.0
CALL_WITHIN_S: Final = 10.0
ADMIN_WITHIN_S: Final = 120.0
BODY: Final = b"x" * 256
ORDER_HEADER: Final = ("x-order", "ab")
"""Of the calls that two routes of one service match."""

# What fails is to be seen, not made good. A connection of its own: the streams' clients are others.
_REFUSED: Final = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
_NO_RETRIES: Final = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]


class World:
    """A control plane with two backends, and how many changes it has had."""

    def __init__(self, plane: ControlPlane, *, seed: int = 7) -> None:
        self.plane = plane
        self.chance = random.Random(seed)
        self.ports: Sequence[int] = ()
        """Of the backends."""

        self.log: list[tuple[float, str]] = []
        """Which change was made when, by the loop's clock."""

        self.turns: collections.Counter[str] = collections.Counter()
        """How often each kind of change was made."""

        self.token = ""
        self.key = ""
        """The API key that calls of the lane `Key` come with."""

        self.key_name = ""
        self.airline = Airline()
        self.foreign = self.airline.token()
        """The token of another issuer that calls of the lane `Issuer` come with."""

        self.site = Site()
        self._under_way: collections.Counter[str] = collections.Counter()
        """Calls, by their API key or token."""

        self.failures: collections.Counter[str] = collections.Counter()
        self.cut: list[str] = []
        """What ended a stream that should have gone on."""

        self._operator = grpc.aio.insecure_channel(f"unix:{plane.gateway_socket}")
        self._config = config_service_pb2_grpc.ConfigServiceStub(self._operator)
        self.identity = identity_service_pb2_grpc.IdentityServiceStub(self._operator)
        self._keys = key_service_pb2_grpc.KeyServiceStub(self._operator)
        self._edge: grpc.aio.Channel | None = None
        self._calling: asyncio.Task[list[Sample]] | None = None

    def start(self) -> None:
        """Start two backends; blocks."""
        self.ports = (self.plane.start_backend("a"), self.plane.start_backend("b"))

    async def close(self) -> None:
        """Let go of the control plane."""
        await self._operator.close()

    async def apply(
        self,
        *objects: object_pb2.Object,
        deletes: Sequence[str] = (),
        canary: config_service_pb2.Canary | None = None,
    ) -> None:
        """Make one change; one of which the answer was lost is asked for again, and made once."""
        request = config_service_pb2.ApplyChangeRequest(
            change_set=config_service_pb2.ChangeSet(objects=objects, deletes=deletes),
            request_id=str(uuid.UUID(int=self.chance.getrandbits(128), version=4)),
            canary=canary,
        )
        async with asyncio.timeout(ADMIN_WITHIN_S):
            while True:
                try:
                    await self._config.ApplyChange(request, wait_for_ready=True)
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        raise
                else:
                    return

    async def renew_token(self) -> None:
        """Have the calls from now on come with a token of the newest key."""
        self.token = await self.new_token()

    async def new_token(self) -> str:
        """Return a token that calls may come with."""
        request = identity_service_pb2.CreateTokenRequest(
            subject="services/bench", tenant="bench", roles=["service"]
        )
        return str((await self.identity.CreateToken(request, wait_for_ready=True)).token)

    async def new_key(self) -> None:
        """Have the calls of the lane `Key` come with a new API key from now on."""
        wanted = key_service_pb2.ApiKey(subject="services/bench", tenant="bench", roles=["service"])
        request = key_service_pb2.CreateKeyRequest(key=wanted)
        made = await self._keys.CreateKey(request, wait_for_ready=True)
        self.key, self.key_name = made.text, made.key.name

    async def unused(self, credential: str) -> None:
        """Wait until no call that came with an API key or a token is under way."""
        while self._under_way[credential]:  # noqa: ASYNC110
            await asyncio.sleep(0.005)  # polls
        del self._under_way[credential]

    async def revoke(self, token_id: str) -> None:
        """Revoke a token or an API key."""
        request = key_service_pb2.RevokeTokenRequest(token_id=token_id, reason="bench")
        await self._keys.RevokeToken(request, wait_for_ready=True)

    async def until_refused(self, metadata: Sequence[tuple[str, str]]) -> None:
        """Wait until the edge refuses calls that come with *metadata*."""
        await self._until(metadata, good=False)

    async def until_good(self, metadata: Sequence[tuple[str, str]]) -> None:
        """Wait until the edge takes calls that come with *metadata*."""
        await self._until(metadata, good=True)

    async def _until(self, metadata: Sequence[tuple[str, str]], *, good: bool) -> None:
        assert self._edge is not None, "there is load meanwhile"
        method: Any = self._edge.unary_unary(f"/aerofusion.bench.v1.{LANES[0]}Service/Echo")
        async with asyncio.timeout(ADMIN_WITHIN_S):
            while True:
                try:
                    await method(BODY, metadata=metadata, timeout=CALL_WITHIN_S)
                    refused = False
                except grpc.aio.AioRpcError as error:
                    refused = True
                    if error.code() not in _REFUSED:
                        self.failures[f"credential: {error.code().name} {error.details()}"] += 1
                if refused is not good:
                    return
                await asyncio.sleep(0.005)  # polls

    async def forget_retired_keys(self) -> None:
        """Let retired signing keys end now: each may have tokens for a day, and there is a most."""
        connection = await asyncpg.connect(self.plane.postgres.dsn("gateway"))
        try:
            await connection.execute(
                "UPDATE signing_keys SET expire_time = now() WHERE state = 'RETIRED'"
            )
        finally:
            await connection.close()

    async def listener_updates(self) -> int:
        """How often Envoy has changed a listener: each time streams are told to end."""
        connector = aiohttp.UnixConnector(str(self.plane.admin_socket))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(
                "http://envoy/stats", params={"filter": "^listener_manager.listener_"}
            ) as answer,
        ):
            lines = (await answer.text()).splitlines()
        counts = dict(line.split(": ") for line in lines)
        return sum(
            int(counts[f"listener_manager.listener_{name}"])
            for name in ("modified", "in_place_updated", "removed")
        )

    @contextlib.asynccontextmanager
    async def load(self, rate: float) -> AsyncIterator[list[Sample]]:
        """
        Make *rate* calls a second, and keep `STREAMS` streams open, all the while.

        Yields what becomes of the calls; complete at the end.
        """
        await self.renew_token()
        await self.new_key()
        credentials = grpc.ssl_channel_credentials(self.plane.bundle_pem)
        address = f"localhost:{self.plane.edge_port}"
        samples: list[Sample] = []
        stop = asyncio.Event()
        async with (
            grpc.aio.secure_channel(address, credentials, options=_NO_RETRIES) as channel,
            grpc.aio.secure_channel(address, credentials, options=_NO_RETRIES) as another,
        ):
            self._edge = channel
            await self._until_served(channel)
            self.failures.clear()
            site = self.site.call(self.plane.edge_port, self.failures, stop)
            streams = [
                asyncio.create_task(self._stream(another, LANES[number % len(LANES)], stop))
                for number in range(STREAMS)
            ]
            visitor = asyncio.create_task(site)
            calls = [self._call(channel, lane) for lane in LANES]
            loop = asyncio.create_task(
                open_loop(
                    calls,
                    rate=rate,
                    seconds=float("inf"),
                    stop=stop,
                    in_flight_max=int(2 * rate * CALL_WITHIN_S),
                )
            )
            self._calling = loop
            try:
                yield samples
            finally:
                stop.set()
                samples += await loop
                await asyncio.gather(*streams, visitor)

    def check(self) -> None:
        """Raise what ended the calls, if anything did."""
        if self._calling is not None and self._calling.done():
            self._calling.result()

    def _metadata(self, lane: str) -> list[tuple[str, str]]:
        if lane == "Key":
            return [("x-api-key", self.key)]
        if lane == "Issuer":
            return [("authorization", f"Bearer {self.foreign}")]
        told = [("authorization", f"Bearer {self.token}")]
        return [*told, ORDER_HEADER] if lane == "Order" else told

    def _call(self, channel: grpc.aio.Channel, lane: str) -> Any:
        method: Any = channel.unary_unary(f"/aerofusion.bench.v1.{lane}Service/Echo")

        async def call() -> None:
            metadata = self._metadata(lane)
            credential = {"Key": self.key, "Issuer": self.foreign}.get(lane, "")
            self._under_way[credential] += 1
            try:
                await method(BODY, metadata=metadata, timeout=CALL_WITHIN_S)
            except grpc.aio.AioRpcError as error:
                self.failures[f"{lane}: {error.code().name} {error.details()}"] += 1
                raise
            finally:
                self._under_way[credential] -= 1

        return call

    async def _stream(self, channel: grpc.aio.Channel, lane: str, stop: asyncio.Event) -> None:
        """Keep a stream open until *stop*, sending and getting something back all the while."""
        method: Any = channel.stream_stream(f"/aerofusion.bench.v1.{lane}Service/Stream")
        call = method(metadata=self._metadata(lane))
        try:
            while not stop.is_set():
                await call.write(BODY)
                async with asyncio.timeout(CALL_WITHIN_S):
                    if await call.read() is grpc.aio.EOF:
                        self.cut.append(f"{lane}: ended, {await call.code()}")
                        return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PING_EVERY_S):
                        await stop.wait()
            await call.done_writing()
        except grpc.aio.AioRpcError as error:
            self.cut.append(f"{lane}: {error.code().name} {error.details()}")
        except asyncio.InvalidStateError:
            self.cut.append(f"{lane}: {await call.code()} {await call.details()}")
        except TimeoutError:
            self.cut.append(f"{lane}: silent")

    async def _until_served(self, channel: grpc.aio.Channel) -> None:
        async with asyncio.timeout(ADMIN_WITHIN_S):
            for lane in LANES:
                while True:
                    try:
                        await self._call(channel, lane)()
                    except grpc.aio.AioRpcError:
                        await asyncio.sleep(0.05)  # polls
                    else:
                        break
