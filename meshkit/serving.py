"""A gRPC server as every service of the mesh runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from meshkit.boundary import BoundaryInterceptor
from meshkit.fastpath import FastPath
from meshkit.tracing import UnaryTracingInterceptor


if TYPE_CHECKING:
    from pathlib import Path

    from meshkit.authz import Rule
    from meshkit.call_limits import CallLimits
    from meshkit.fastpath import Behaviour
    from meshkit.identity import Workload

log = structlog.get_logger()


class ListenFailed(Exception):
    """The address can't be listened on: it is taken, or not ours. The message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingLimits:
    """Every bound of a server, in one place."""

    message_bytes_max: int = 4 * 1024 * 1024
    """Largest message taken or sent; a larger one is `RESOURCE_EXHAUSTED`."""

    metadata_bytes_max: int = 16 * 1024
    """Largest metadata of a call."""

    concurrent_rpcs_max: int = 2_000
    """Calls and streams under way at once; more are `RESOURCE_EXHAUSTED` unheard."""

    streams_per_connection_max: int = 2_000
    """HTTP/2 streams one connection may hold open; the peer waits beyond it."""

    unary_timeout: timedelta = timedelta(seconds=30)
    """How long a unary call without a deadline of its own may take."""

    keepalive: timedelta = timedelta(seconds=30)
    """How often a silent connection is pinged; it is closed after 10 s without an answer."""


class GrpcServer:
    """
    One gRPC server: mutual TLS, health, reflection, tracing, authorisation, error mapping.

    Whoever makes it calls `add` for each service, `start`, and `drain` in the end. Streams
    must end by themselves soon after `stopping` is set; `drain` cancels what doesn't.
    """

    def __init__(
        self,
        *,
        workload: Workload,
        listen: str,
        policy: Mapping[str, Rule],
        unix_socket: Path | None = None,
        limits: ServingLimits | None = None,
        call_limits: CallLimits | None = None,
    ) -> None:
        """*call_limits*: what direct callers may do how often; the server follows it."""
        limits = limits or ServingLimits()
        self.stopping = asyncio.Event()
        self._workload = workload
        self._listen = listen
        self._unix_socket = unix_socket
        self._health = health.aio.HealthServicer()
        self._names: list[str] = []
        self._fast = FastPath(
            policy,
            [
                UnaryTracingInterceptor(),
                BoundaryInterceptor(
                    policy, unary_timeout=limits.unary_timeout, call_limits=call_limits
                ),
            ],
        )
        self._call_limits = call_limits
        self._following: asyncio.Task[None] | None = None
        self.server = grpc.aio.server(
            interceptors=[self._fast],
            maximum_concurrent_rpcs=limits.concurrent_rpcs_max,
            options=[
                ("grpc.max_receive_message_length", limits.message_bytes_max),
                ("grpc.max_send_message_length", limits.message_bytes_max),
                ("grpc.max_metadata_size", limits.metadata_bytes_max),
                ("grpc.absolute_max_metadata_size", limits.metadata_bytes_max),
                ("grpc.max_concurrent_streams", limits.streams_per_connection_max),
                ("grpc.keepalive_time_ms", int(limits.keepalive.total_seconds() * 1000)),
                ("grpc.keepalive_timeout_ms", 10_000),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.so_reuseport", 0),
            ],
        )

    def add(self, register: Callable[[Any, Any], None], servicer: object, name: str) -> None:
        """
        Serve *servicer*.

        Args:
            register: The generated `add_<Name>Servicer_to_server`.
            name: Full name of the service, for health and reflection.

        """
        register(servicer, _ByName(self.server))
        self._names.append(name)

    def add_fast(self, method: str, behaviour: Behaviour) -> None:
        """Answer *method*, a full path, in bytes and without a span; see `meshkit.fastpath`."""
        self._fast.add(method, behaviour)

    async def start(self) -> int:
        """
        Listen, and report every service as SERVING. Returns the bound TCP port.

        Raises:
            ListenFailed: The address is taken or not ours.

        """
        named = [*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME]
        own: list[tuple[Callable[[Any, Any], None], object]] = [
            (health_pb2_grpc.add_HealthServicer_to_server, self._health),
            (
                reflection_pb2_grpc.add_ServerReflectionServicer_to_server,
                reflection.aio.ReflectionServicer(named),
            ),
        ]
        for register, servicer in own:
            register(servicer, _ByName(self.server))
        try:
            port = self.server.add_secure_port(self._listen, self._workload.server_credentials())
        except RuntimeError as error:
            raise ListenFailed(
                f"cannot listen on {self._listen}: {error}. "
                "Try: another port, or stop the process that holds this one."
            ) from None
        if self._unix_socket is not None:
            self._unix_socket.unlink(missing_ok=True)
            self.server.add_insecure_port(f"unix:{self._unix_socket}")
        await self.server.start()
        for name in ("", *self._names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        if self._call_limits is not None and self._names:
            self._following = asyncio.create_task(
                self._call_limits.run(self._names), name="call_limits"
            )
        log.info("serving", port=port, services=self._names)
        return port

    async def drain(self, grace: timedelta) -> None:
        """
        Report NOT_SERVING, take no new calls, give those under way *grace*, then cancel them.

        Sets `stopping` first, so that streams end by themselves.
        """
        log.info("draining", grace_s=grace.total_seconds())
        await self._health.enter_graceful_shutdown()
        self.stopping.set()
        if self._following is not None:
            self._following.cancel()
        await self.server.stop(grace.total_seconds())


class _ByName:
    """
    What generated code adds a service to: a server that finds methods by their names.

    grpc.aio waits for a call of each method that is registered, and after every call anew: some
    1 us of CPU for each of them, with every call (grpcio 1.85).
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self.add_generic_rpc_handlers = server.add_generic_rpc_handlers

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Do nothing: they are among the generic ones as well."""
