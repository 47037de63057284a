"""
Carries out one session: reads Envoy and the gateway, writes what the session decides.

    Envoy ──▶ _hear_envoy ──┐                       ┌──▶ context.write ──▶ Envoy
    gateway ─▶ _follow ─────┼─▶ events ─▶ session ──┼──▶ requests ─▶ _speak ─▶ gateway
    secrets ─▶ _watch ──────┤   (bounded)           └──▶ shelf
    silence ─▶ _wait_quiet ─┘
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from google.protobuf.message import DecodeError

from gateway.relay.messages import parse_answer, parse_ask, serialise_answer, serialise_ask
from gateway.relay.secrets import RESERVED, SECRET_TYPE
from gateway.relay.session import (
    Action,
    Answer,
    Ask,
    Item,
    Keep,
    KeepOnly,
    Session,
    ToEnvoy,
    ToGateway,
)
from gateway.xds.resources import RESOURCE_TYPES


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.relay.limits import RelayLimits
    from gateway.relay.secrets import Secrets
    from gateway.relay.shelf import Shelf
    from gateway.relay.upstream import Upstream

    Context = Any

log = structlog.get_logger(__name__)

WILDCARD_TYPES = frozenset(kind.type_url for kind in RESOURCE_TYPES if kind.wildcard)


@dataclass(frozen=True, slots=True)
class _Outbox:
    """What waits to be said to the gateway on one stream."""

    call: Any
    requests: asyncio.Queue[Ask]

    def put(self, ask: Ask) -> None:
        """Queue a request; a gateway that reads none for that long is given up."""
        try:
            self.requests.put_nowait(ask)
        except asyncio.QueueFull:
            log.warning("relay.gateway_stalled")
            self.call.cancel()


@dataclass(frozen=True, slots=True)
class _Connected:
    outbox: _Outbox


@dataclass(frozen=True, slots=True)
class _Lost:
    pass


@dataclass(frozen=True, slots=True)
class _SecretsChanged:
    pass


@dataclass(frozen=True, slots=True)
class _PatienceOver:
    outbox: _Outbox


@dataclass(frozen=True, slots=True)
class _Quiet:
    pass


@dataclass(frozen=True, slots=True)
class _Ended:
    pass


_Event = Ask | Answer | _Connected | _Lost | _SecretsChanged | _PatienceOver | _Quiet | _Ended


class DeltaStream:
    """One delta stream of Envoy's; `run` lasts as long as it does."""

    def __init__(
        self,
        context: Context,
        *,
        shelf: Shelf,
        secrets: Secrets,
        upstream: Upstream,
        limits: RelayLimits,
        taken: Callable[[str, Iterable[Item]], None],
    ) -> None:
        self._taken = taken
        self._context = context
        self._shelf = shelf
        self._secrets = secrets
        self._upstream = upstream
        self._limits = limits
        self._session = Session(
            shelf=shelf.tables,
            own={SECRET_TYPE: secrets.table},
            reserved=RESERVED,
            wildcards=WILDCARD_TYPES,
        )
        self._events: asyncio.Queue[_Event] = asyncio.Queue(limits.events_max)
        self._outbox: _Outbox | None = None
        self._node = b""
        self._heard = asyncio.Event()
        self._spoken = asyncio.Event()

    async def run(self) -> None:
        """Serve Envoy until it hangs up."""
        async with asyncio.TaskGroup() as tasks:
            helpers = [
                tasks.create_task(self._hear_envoy()),
                tasks.create_task(self._follow_gateway()),
                tasks.create_task(self._watch_secrets()),
                tasks.create_task(self._wait_quiet()),
            ]
            try:
                await self._decide()
            finally:
                self._forget_gateway()
                for helper in helpers:
                    helper.cancel()

    def _forget_gateway(self) -> None:
        if self._outbox is not None:
            self._upstream.online.add(-1)
            self._outbox = None

    async def _decide(self) -> None:
        session = self._session
        while True:
            event = await self._events.get()
            if not isinstance(event, _Quiet):
                self._spoken.set()
            match event:
                case Ask() as ask:
                    await self._carry_out(session.on_ask(ask))
                case Answer() as answer:
                    await self._carry_out(session.on_answer(answer))
                case _Connected(outbox):
                    self._outbox = outbox
                    self._upstream.online.add(1)
                    log.info("relay.online")
                    await self._carry_out(session.on_connected())
                case _Lost():
                    self._forget_gateway()
                    log.info("relay.offline")
                    await self._carry_out(session.on_lost())
                case _SecretsChanged():
                    await self._carry_out(session.on_own_change(SECRET_TYPE))
                case _PatienceOver(outbox):
                    if session.is_starving:
                        log.warning("relay.gateway_silent")
                        outbox.call.cancel()
                case _Quiet():
                    await self._carry_out(session.on_quiet())
                case _Ended():
                    return

    async def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case ToEnvoy(answer):
                    await self._context.write(serialise_answer(answer))
                case ToGateway(ask):
                    # Lost in this instant: what it said is said anew on the next stream.
                    if self._outbox is not None:
                        self._outbox.put(ask)
                case Keep(type_url, items, removed):
                    self._shelf.keep(type_url, items, removed)
                    self._taken(type_url, items)
                case KeepOnly(type_url, names):
                    self._shelf.keep_only(type_url, names)

    async def _hear_envoy(self) -> None:
        first = True
        while True:
            limit_s = self._limits.first_request.total_seconds() if first else None
            try:
                async with asyncio.timeout(limit_s):
                    data = await self._context.read()
            except TimeoutError:
                break
            if data is grpc.aio.EOF:
                break
            try:
                ask, node = parse_ask(data)
            except DecodeError:
                log.warning("relay.request_malformed")
                break
            self._node = node or self._node
            first = False
            self._heard.set()
            await self._events.put(ask)
        await self._events.put(_Ended())

    async def _follow_gateway(self) -> None:
        await self._heard.wait()  # Its node goes into the first request.
        there = await self._upstream.decided(self._limits.connect_patience.total_seconds())
        if not there:
            await self._events.put(_Lost())
        while True:
            await self._upstream.connected()
            await self._follow_once()
            await self._events.put(_Lost())
            delay_s = self._limits.reconnect_delay_max.total_seconds()
            await asyncio.sleep(delay_s * random.uniform(0.1, 1.0))  # noqa: S311 - jitter

    async def _follow_once(self) -> None:
        """Listen to one stream of the gateway's until it ends, for whatever reason."""
        outbox = _Outbox(self._upstream.delta(), asyncio.Queue(self._limits.requests_max))
        await self._events.put(_Connected(outbox))
        speaking = asyncio.create_task(self._speak(outbox))
        patience = asyncio.create_task(self._lose_patience(outbox))
        try:
            while (data := await outbox.call.read()) is not grpc.aio.EOF:
                await self._events.put(parse_answer(data))
            log.info("relay.gateway_hung_up", code=str(await outbox.call.code()))
        except (grpc.RpcError, DecodeError, asyncio.InvalidStateError) as error:
            code = error.code().name if isinstance(error, grpc.aio.AioRpcError) else repr(error)
            log.info("relay.gateway_lost", code=code)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # This task is cancelled, not only the call.
        finally:
            outbox.call.cancel()
            speaking.cancel()
            patience.cancel()
            await asyncio.gather(speaking, patience, return_exceptions=True)

    async def _speak(self, outbox: _Outbox) -> None:
        node = self._node
        with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
            while True:
                await outbox.call.write(serialise_ask(await outbox.requests.get(), node))
                node = b""

    async def _lose_patience(self, outbox: _Outbox) -> None:
        await asyncio.sleep(self._limits.answer_patience.total_seconds())
        await self._events.put(_PatienceOver(outbox))

    async def _watch_secrets(self) -> None:
        while True:
            await self._secrets.change()
            await self._events.put(_SecretsChanged())

    async def _wait_quiet(self) -> None:
        while True:
            await self._spoken.wait()
            while self._spoken.is_set():
                self._spoken.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._limits.quiet.total_seconds()):
                        await self._spoken.wait()
            await self._events.put(_Quiet())
