"""
Join on a port of its own, the only one where a peer may show no certificate.

grpcio's Python API knows two kinds of TLS server: one that demands client
certificates, and one that never asks for them; "verify if given" isn't offered. All
ports of a server have the same methods. So Join gets its own server with this one
method: nothing else can be reached without a certificate, whatever else changes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from aerofusion.gateway.v1 import identity_service_pb2
from gateway.identity.policy import SERVICE
from gateway.identity.service import to_message
from meshkit.errors import InvalidInput, MeshError, Unavailable
from meshkit.serving import ListenFailed
from meshkit.status import to_status


if TYPE_CHECKING:
    from gateway.identity.enrolment import Enrolment
    from meshkit.identity import Workload

    Context = Any

log = structlog.get_logger(__name__)

JOIN_METHOD: Final = "Join"


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinLimits:
    """What strangers may cost."""

    message_bytes_max: int = 16 * 1024
    metadata_bytes_max: int = 4 * 1024
    concurrent_joins_max: int = 16
    streams_per_connection_max: int = 4
    call_timeout: timedelta = timedelta(seconds=5)
    connection_age_max: timedelta = timedelta(seconds=30)


class JoinServer:
    """Serves Join; `start` once, `stop` in the end."""

    def __init__(
        self,
        enrolment: Enrolment,
        *,
        workload: Workload,
        listen: str,
        limits: JoinLimits | None = None,
    ) -> None:
        self._enrolment = enrolment
        self._workload = workload
        self._listen = listen
        self._limits = limits or JoinLimits()
        age_ms = int(self._limits.connection_age_max.total_seconds() * 1000)
        self._server = grpc.aio.server(
            maximum_concurrent_rpcs=self._limits.concurrent_joins_max,
            options=[
                ("grpc.max_receive_message_length", self._limits.message_bytes_max),
                ("grpc.max_metadata_size", self._limits.metadata_bytes_max),
                ("grpc.absolute_max_metadata_size", self._limits.metadata_bytes_max),
                ("grpc.max_concurrent_streams", self._limits.streams_per_connection_max),
                ("grpc.max_connection_age_ms", age_ms),
                ("grpc.max_connection_age_grace_ms", age_ms),
                ("grpc.so_reuseport", 0),
            ],
        )

    async def start(self) -> int:
        """
        Listen; returns the bound port.

        Raises:
            ListenFailed: The address is taken or not ours.

        """
        handler: Any = grpc.unary_unary_rpc_method_handler(self._join)  # Raw bytes, both ways.
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(SERVICE, {JOIN_METHOD: handler})]
        )
        try:
            port = self._server.add_secure_port(self._listen, self._workload.join_credentials())
        except RuntimeError as error:
            raise ListenFailed(f"cannot listen on {self._listen}: {error}") from None
        await self._server.start()
        return port

    async def stop(self) -> None:
        """Let joins under way finish, for as long as a call may take."""
        await self._server.stop(self._limits.call_timeout.total_seconds())

    async def _join(self, raw: bytes, context: Context) -> bytes:
        try:
            async with asyncio.timeout(self._limits.call_timeout.total_seconds()):
                return await self._answer(raw)
        except MeshError as error:
            refusal = error
        except TimeoutError:
            refusal = Unavailable("JOIN_TIMEOUT", "Joining took too long; try again.")
        except Exception:
            log.exception("identity.join_failed")
            await context.abort(grpc.StatusCode.INTERNAL, "Internal error.")
            raise AssertionError("abort raises") from None
        log.warning("identity.join_refused", reason=refusal.reason, peer=context.peer())
        await context.abort_with_status(rpc_status.to_status(to_status(refusal)))
        raise AssertionError("abort raises")

    async def _answer(self, raw: bytes) -> bytes:
        try:
            request = identity_service_pb2.JoinRequest.FromString(raw)
        except DecodeError as error:
            raise InvalidInput("MESSAGE_MALFORMED", "The request is no JoinRequest.") from error
        issued = await self._enrolment.join(request.token, request.csr_pem)
        response = identity_service_pb2.JoinResponse(
            certificate=to_message(issued, self._enrolment.bundle_pem)
        )
        return response.SerializeToString()
