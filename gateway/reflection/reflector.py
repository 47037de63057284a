"""Asks services that say so for their descriptors, and has the control plane use them."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import grpc
import structlog
from opentelemetry import metrics

from gateway.compile.descriptors import InvalidDescriptors
from gateway.reflection.conversation import Conversation
from meshkit.errors import MeshError


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway.compile.inputs import Inputs
    from gateway.model import Endpoint, Service
    from meshkit.identity import Workload

METHODS: Final = tuple(
    f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    for version in ("v1", "v1alpha")
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReflectionLimits:
    """How often services are asked, how many at once, and how long they may take."""

    interval: timedelta = timedelta(seconds=60)
    """Pause between two questions to a service whose endpoints haven't changed."""

    retry: timedelta = timedelta(seconds=1)
    """Pause after a failure; doubled each time, up to `interval`."""

    look: timedelta = timedelta(milliseconds=500)
    """How often it is looked for changes of endpoints."""

    timeout: timedelta = timedelta(seconds=5)
    """For one conversation."""

    at_once_max: int = 8
    message_bytes_max: int = 4 * 1024 * 1024


@dataclass(slots=True)
class _State:
    """What is known of one service."""

    asked: tuple[object, ...] = ()
    """Endpoints and gRPC services it was last asked with."""

    due: float = 0.0
    """When it is asked again, by the loop's clock."""

    failures: int = 0
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Reflector:
    """
    Follows the catalog's services with `reflect`.

    A service whose replicas can't be asked keeps what it last told. What doesn't fit beside the
    other services' descriptors isn't taken.
    """

    def __init__(
        self,
        workload: Workload,
        *,
        inputs: Callable[[], Inputs],
        told: Callable[[str, bytes], Awaitable[None]],
        limits: ReflectionLimits | None = None,
    ) -> None:
        """
        Make one that asks as *workload*.

        Args:
            inputs: What the newest configuration was made of.
            told: Is given a service's name and its new descriptors. Raises InvalidDescriptors
                if they can't be used.

        """
        self._workload = workload
        self._inputs = inputs
        self._told = told
        self._limits = limits or ReflectionLimits()
        self._states: dict[str, _State] = {}
        self._slots = asyncio.Semaphore(self._limits.at_once_max)
        self._seen: Mapping[str, Service] = {}
        self._reflecting: list[str] = []
        self._failures = metrics.get_meter("gateway").create_counter(
            "gateway.reflection.failures",
            unit="{conversation}",
            description="Services that could not be asked for descriptors, or told useless ones",
        )

    async def run(self) -> None:
        """Ask until cancelled."""
        try:
            while True:
                self._look()
                await asyncio.sleep(self._limits.look.total_seconds())  # polls
        finally:
            for state in self._states.values():
                if state.task is not None:
                    state.task.cancel()

    def _look(self) -> None:
        inputs = self._inputs()
        services = inputs.catalog.services
        if services is not self._seen:
            self._seen = services
            self._reflecting = [name for name, one in services.items() if one.reflect]
            for gone in self._states.keys() - set(self._reflecting):
                if (task := self._states.pop(gone).task) is not None:
                    task.cancel()
        now = asyncio.get_running_loop().time()
        for name in self._reflecting:
            service = services[name]
            endpoints = inputs.endpoints_of(service)
            state = self._states.setdefault(name, _State())
            asks = (endpoints, service.grpc_services, service.identity)
            if asks != state.asked:
                state.asked, state.due, state.failures = asks, now, 0
            if endpoints and now >= state.due and (state.task is None or state.task.done()):
                state.due = float("inf")
                state.task = asyncio.create_task(self._ask(service, endpoints, state))

    async def _ask(self, service: Service, endpoints: Sequence[Endpoint], state: _State) -> None:
        limits = self._limits
        asked = state.asked
        try:
            async with self._slots:
                endpoint = random.choice(endpoints)  # noqa: S311 - not secret
                async with asyncio.timeout(limits.timeout.total_seconds()):
                    descriptors = await self._converse(service, endpoint)
            await self._told(service.name, descriptors)
        except (InvalidDescriptors, MeshError, TimeoutError) as error:
            self._failures.add(1)
            if not state.failures:
                log.warning("reflection_failed", service=service.name, error=repr(error))
            state.failures += 1
            pause = min(limits.interval, limits.retry * 2 ** min(state.failures - 1, 10))
        else:
            state.failures = 0
            pause = limits.interval
        if state.asked is asked:
            jitter = random.uniform(0.9, 1.1)  # noqa: S311 - spreads load
            state.due = asyncio.get_running_loop().time() + pause.total_seconds() * jitter

    async def _converse(self, service: Service, endpoint: Endpoint) -> bytes:
        """Ask one replica, whose certificate must name the service's identity."""
        channel = self._workload.channel(
            f"{endpoint.address}:{endpoint.port}",
            service.identity,
            options=(("grpc.max_receive_message_length", self._limits.message_bytes_max),),
        )
        try:
            for method in METHODS:
                told = await _talk(channel.stream_stream(method), service.grpc_services)
                if told is not None:
                    return told
        finally:
            await channel.close()
        raise InvalidDescriptors("it serves no reflection")


async def _talk(method: Any, grpc_services: Sequence[str]) -> bytes | None:
    """
    Hold one conversation; returns the descriptors, or None if the method isn't served.

    Raises:
        InvalidDescriptors: The server refuses, or what it tells can't be used.

    """
    conversation = Conversation(grpc_services)
    call = method()
    try:
        while (request := conversation.next()) is not None:
            await call.write(request)
            response = await call.read()
            if response is grpc.aio.EOF:
                raise InvalidDescriptors("it hung up")
            conversation.hear(response)
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        code = await call.code()
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return None
        raise InvalidDescriptors(f"it answered {code.name}") from None
    finally:
        call.cancel()
    return conversation.result()
