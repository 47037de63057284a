"""The service that edges ask about strict limits (`RateLimitService/ShouldRateLimit`)."""

from __future__ import annotations

import base64
import math
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import grpc.aio

from gateway.compile.envoy_api import message_class
from gateway.limits.strict import NOTHING, StrictLimits, Verdict, told
from meshkit.authz import EDGE
from meshkit.errors import InvalidInput, Overloaded, Unavailable
from meshkit.gcra import NS
from meshkit.status import to_status


if TYPE_CHECKING:
    from gateway.limits.owner import Owner
    from meshkit.identity import SpiffeId, Workload

_PACKAGE: Final = "envoy.service.ratelimit.v3"
SERVICE: Final = f"{_PACKAGE}.RateLimitService"
METHOD: Final = f"/{SERVICE}/ShouldRateLimit"
DESCRIPTORS_MAX: Final = 64
"""Limits that one call may be counted by."""

FORWARD_TIMEOUT_S: Final = 0.2
_OK, _OVER_LIMIT = 1, 2


class StrictService:
    """Answers edges: by itself if this replica decides, else what the replica says that does."""

    def __init__(self, limits: StrictLimits, owner: Owner, workload: Workload) -> None:
        self._limits = limits
        self._owner = owner
        self._workload = workload
        self._request: Any = message_class(f"{_PACKAGE}.RateLimitRequest")
        self._response: Any = message_class(f"{_PACKAGE}.RateLimitResponse")
        self._nothing: bytes = self._response(overall_code=_OK).SerializeToString()
        self._peer: tuple[str, grpc.aio.Channel, Any] | None = None

    async def close(self) -> None:
        """Close the connection to the replica that decides."""
        peer, self._peer = self._peer, None
        if peer is not None:
            await peer[1].close()

    async def ask(self, request: bytes, peer: SpiffeId) -> bytes:
        """
        Answer *peer*'s serialised request.

        Raises:
            InvalidInput: MALFORMED_REQUEST.
            Unavailable: NO_LIMIT_OWNER, or the database is away.

        """
        if not self._owner.is_ours:
            await self._owner.find()
        if self._owner.is_ours:
            return self.decide(request, time.monotonic_ns())
        return await self._forwarded(request, peer)

    def decide(self, request: bytes, now_ns: int) -> bytes:
        """
        Return the answer to a serialised request.

        Raises:
            InvalidInput: MALFORMED_REQUEST.

        """
        try:
            asked = self._request.FromString(request)
        except Exception:  # noqa: BLE001 - whatever the bytes did, the caller did it
            asked = None
        if asked is None or len(asked.descriptors) > DESCRIPTORS_MAX:
            raise InvalidInput("MALFORMED_REQUEST", "No request, or one with too much in it.")
        descriptors = [
            (
                tuple([(entry.key, entry.value) for entry in one.entries]),
                one.hits_addend.value if one.HasField("hits_addend") else asked.hits_addend,
            )
            for one in asked.descriptors
        ]
        verdict = self._limits.ask(descriptors, now_ns)
        if verdict is NOTHING:
            return self._nothing
        return self._answer(verdict)

    def _answer(self, verdict: Verdict) -> bytes:
        if verdict.allowed:
            made = self._response(overall_code=_OK, response_headers_to_add=told(verdict))
            return bytes(made.SerializeToString())
        limit, decision = verdict.limit, verdict.decision
        assert limit is not None, "a limit refuses"
        assert decision is not None, "a limit refuses"
        message = f"{limit.name} is reached; wait before the next call."
        wait = timedelta(microseconds=math.ceil(decision.retry_after_ns / 1000))
        error = Overloaded("LIMIT_REACHED", message, retry_after=wait, limit=limit.name)
        details = base64.b64encode(to_status(error).SerializeToString()).rstrip(b"=").decode()
        seconds = max(1, math.ceil(decision.retry_after_ns / NS))
        headers = [
            *told(verdict),
            {"key": "retry-after", "value": str(seconds)},
            {"key": "grpc-status-details-bin", "value": details},
        ]
        made = self._response(
            overall_code=_OVER_LIMIT, raw_body=message.encode(), response_headers_to_add=headers
        )
        return bytes(made.SerializeToString())

    async def _forwarded(self, request: bytes, peer: SpiffeId) -> bytes:
        address = self._owner.other
        # Only an edge's question is passed on: two replicas that each take the other for the
        # owner would pass it back and forth.
        if not address or peer.service != EDGE:
            raise Unavailable("NO_LIMIT_OWNER", "No replica decides on strict limits just now.")
        try:
            ask = await self._peer_at(address)
            answer: bytes = await ask(request, timeout=FORWARD_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise Unavailable(
                "NO_LIMIT_OWNER", "The replica that decides on strict limits doesn't answer."
            ) from error
        return answer

    async def _peer_at(self, address: str) -> Any:
        if self._peer is None or self._peer[0] != address:
            await self.close()
            channel = self._workload.channel(address, "gateway")
            self._peer = (address, channel, channel.unary_unary(METHOD))
        return self._peer[2]
