"""The client: keeps a device's spaces on disk and in step with the server while there is one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import sqlite3
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import grpc

from aerofusion.sync.v1 import sync_service_pb2 as contract
from aerofusion.sync.v1 import sync_service_pb2_grpc
from aerofusion_client.protocol import ClientMachine, Effect, End, Phase, Save, Send
from aerofusion_client.space import SyncedSpace
from aerofusion_client.store import Store


Call = grpc.aio.StreamStreamCall[contract.SessionRequest, contract.SessionResponse]

TokenProvider = Callable[[], Awaitable[str]]
"""Returns a fresh token for the edge; asked before each connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long to wait before coming back: a random part of a growing span."""

    first_s: float = 0.25
    factor: float = 2.0
    most_s: float = 30.0

    def delay_s(self, failures: int, chance: float) -> float:
        """Return the wait after so many failures in a row; *chance* is within [0, 1)."""
        span: float = min(self.most_s, self.first_s * self.factor ** min(failures, 32))
        return span * chance


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How the client stands, for showing it to people."""

    live: bool
    reason: str
    """Why the last session ended: a `Goodbye` reason, a gRPC status, or empty."""

    pending: int
    """Changes whose outcome isn't known or not seen yet."""

    heals: int
    """How often a copy was found to differ from the server's and was fetched anew."""


class SyncClient:
    """
    Spaces that can be read and changed at any time, and are in step whenever there is a server.

        async with SyncClient(channel=channel, store="device.db", token=token) as client:
            board = client.follow("tenants/jfk/spaces/board")
            await board.synced()
            print(board.get("UA1"))
            await board.set("UA1", {"gate": "B2"})

    Reads never wait. A change is on disk when `set` returns and reaches the server when it can,
    exactly once. Use it from one event loop; the calls to the disk block for some milliseconds.

    Args:
        channel: To the edge (TLS) or to syncd itself (mutual TLS); the caller closes it.
        store: The device's file; `:memory:` forgets all at the end.
        token: None when the channel itself proves who calls.
        device_id: For a new store; made up if empty. Two stores must not have the same one.
        sleep: Waits so many seconds; for tests.
        chance: Gives numbers within [0, 1); for tests.

    """

    def __init__(
        self,
        *,
        channel: grpc.aio.Channel,
        store: Path | str,
        token: TokenProvider | None = None,
        device_id: str = "",
        backoff: Backoff | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._stub = sync_service_pb2_grpc.SyncServiceStub(channel)
        self._token = token
        self._store = Store(store, new_device_id=device_id or uuid.uuid4().hex)
        self._machine = ClientMachine(self._store.device_id)
        self._backoff = backoff or Backoff()
        self._sleep = sleep
        self._chance = chance
        self._spaces: dict[str, SyncedSpace] = {}
        self._online = asyncio.Event()
        self._online.set()
        self._hurry = asyncio.Event()
        self._outgoing: asyncio.Queue[contract.SessionRequest] = asyncio.Queue()
        self._ended: End | None = None
        self._reason = ""
        self._session: asyncio.Task[End] | None = None
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._run(), name=f"sync-{self.device_id}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the session and close the store. What waits stays on disk for the next time."""
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running
        for space in self._spaces.values():
            space.close()
        self._store.close()

    @property
    def device_id(self) -> str:
        return self._store.device_id

    @property
    def status(self) -> Status:
        links = self._machine.links.values()
        return Status(
            live=self._machine.phase is Phase.LIVE,
            reason=self._reason,
            pending=sum(len(link.replica.pending) for link in links),
            heals=sum(link.heals for link in links),
        )

    def follow(self, name: str) -> SyncedSpace:
        """Return the space `tenants/{tenant}/spaces/{space}`, kept in step from now on."""
        known = self._spaces.get(name)
        if known is None:
            replica = self._store.load(name)
            effects = self._machine.follow(replica)
            link = self._machine.links[name]
            known = SyncedSpace(link, self._store, lambda: self._written(name))
            self._spaces[name] = known
            self._do(effects)
        return known

    def leave(self, name: str) -> None:
        """Follow a space no more; what is on disk stays."""
        space = self._spaces.pop(name, None)
        if space is not None:
            space.close()
            self._do(self._machine.leave(name))

    async def go_offline(self) -> None:
        """End the session and don't come back before `go_online`. Reads and changes go on."""
        self._online.clear()
        if self._session is not None:
            self._session.cancel()
            await asyncio.wait({self._session})

    def go_online(self) -> None:
        """Come back at once, without waiting out a backoff."""
        self._online.set()
        self._hurry.set()

    def _written(self, name: str) -> None:
        self._do(self._machine.on_written(name, time.monotonic()))

    async def _run(self) -> None:
        failures = 0
        while True:
            await self._online.wait()
            self._session = asyncio.create_task(self._one_session(), name="sync-session")
            try:
                await asyncio.wait({self._session})
            finally:
                self._session.cancel()
                await asyncio.gather(self._session, return_exceptions=True)
            was_live = self._machine.phase is Phase.LIVE
            self._machine.on_lost()
            self._moved()
            if self._session.cancelled():
                failures = 0
                continue
            end = self._session.result()
            self._reason = end.reason
            failures = 0 if was_live else failures + 1
            delay = self._backoff.delay_s(failures, self._chance())
            if end.retry_after_s is not None:
                delay = end.retry_after_s * (1 + self._chance())
            await self._pause(delay)

    async def _pause(self, delay_s: float) -> None:
        """Wait so long, or until `go_online`."""
        self._hurry.clear()
        waits = {
            asyncio.ensure_future(self._sleep(delay_s)),
            asyncio.ensure_future(self._hurry.wait()),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()

    async def _one_session(self) -> End:
        """Hold one stream until it ends; returns why."""
        self._ended = None
        self._outgoing = asyncio.Queue()
        call = None
        writer = None
        try:
            metadata = await self._metadata()
            call = self._stub.Session(metadata=metadata)
            writer = asyncio.create_task(self._write(call), name="sync-writer")
            self._do(self._machine.on_connected(time.monotonic()))
            return await self._hear(call)
        except grpc.aio.AioRpcError as error:
            return End(error.code().name, None)
        except Exception as error:
            # The disk, the token provider, or a bug: what is in memory may be ahead of what is
            # on disk, so it is read again. The app's changes are on disk.
            logging.getLogger(__name__).exception("sync session failed")
            self._reload()
            return End(type(error).__name__, None)
        finally:
            if writer is not None:
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
            if call is not None:
                call.cancel()

    async def _hear(self, call: Call) -> End:
        read: asyncio.Future[Any] | None = None
        try:
            while self._ended is None:
                if read is None:
                    read = asyncio.ensure_future(call.read())
                wait_s = self._machine.wait_s(time.monotonic())
                await asyncio.wait({read}, timeout=wait_s)
                if not read.done():
                    self._do(self._machine.on_tick(time.monotonic()))
                    continue
                response, read = read.result(), None
                if response is grpc.aio.EOF:
                    return End((await call.code()).name, None)
                self._do(self._machine.receive(response.frame, time.monotonic()))
                self._moved()
            return self._ended
        finally:
            if read is not None:
                read.cancel()

    async def _write(self, call: Call) -> None:
        while True:
            request = await self._outgoing.get()
            try:
                await call.write(request)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return  # The reader learns why.

    async def _metadata(self) -> tuple[tuple[str, str], ...]:
        if self._token is None:
            return ()
        return (("authorization", f"Bearer {await self._token()}"),)

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self._outgoing.put_nowait(contract.SessionRequest(frame=effect.frame))
                case Save():
                    self._store.save(effect.replica, effect.diff)
                    space = self._spaces.get(effect.replica.name)
                    if space is not None:
                        space.touched(effect.diff.touched)
                case End():
                    self._ended = effect
                    return

    def _reload(self) -> None:
        for name, link in self._machine.links.items():
            with contextlib.suppress(sqlite3.Error):
                link.replica = self._store.load(name)

    def _moved(self) -> None:
        for space in self._spaces.values():
            space.moved()
