"""
The boundary between the wire and a handler, the same for every call.

In: who calls and may it, a deadline, a message that parses. Out: a result, or a status
that a client can act on. Left alone, grpc.aio sends clients the text of any exception.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import structlog
from grpc_status import rpc_status
from opentelemetry import metrics

from meshkit import errors, status, tracing
from meshkit.authz import Rule, allow, authorise, identify, set_caller
from meshkit.load import Load


if TYPE_CHECKING:
    from datetime import timedelta

    from meshkit.call_limits import CallLimits
    from meshkit.tracing import Continuation, Handler

Context = Any
"""A `grpc.aio.ServicerContext`, which is generic for type checkers only."""

OPEN_TO_EVERY_PEER = ("/grpc.health.v1.Health/", "/grpc.reflection.")
"""Methods that any process with a certificate may call, the edge without a token too."""

NOBODY = allow()

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Malformed:
    """Stands for a request whose bytes are no message of the method's type."""

    why: str


class BoundaryInterceptor(grpc.aio.ServerInterceptor):
    """Identifies and authorises callers, bounds time, and maps errors, for all four kinds."""

    def __init__(
        self,
        policy: Mapping[str, Rule],
        *,
        unary_timeout: timedelta,
        call_limits: CallLimits | None = None,
    ) -> None:
        self._policy = policy
        self._call_limits = call_limits
        self._unary_timeout = unary_timeout
        self._load = Load()
        self._duration = metrics.get_meter("meshkit").create_histogram(
            "rpc.server.call.duration", unit="s", description="Time a call or stream took"
        )

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = await continuation(details)
        if handler is None:
            return None
        call = _Call(self, details.method, handler)
        return _MAKE[handler.request_streaming, handler.response_streaming](
            call.stream if handler.response_streaming else call.unary,
            request_deserializer=_guarded(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )

    def admit(self, method: str, context: Context) -> None:
        """Identify the caller and check it against the policy; raises `MeshError`."""
        metadata = {k: v for k, v in context.invocation_metadata() or () if isinstance(v, str)}
        if method.startswith(OPEN_TO_EVERY_PEER):
            return
        rule = self._policy.get(method, NOBODY)
        caller = identify(
            context.auth_context() or {},
            metadata,
            rule,
            local=context.peer().startswith("unix:"),
        )
        authorise(rule, method, caller)
        if self._call_limits is not None:
            self._call_limits.check(method, caller, context)
        set_caller(caller)
        if caller.service == "edge" and (told := self._load.metadata()):
            context.set_trailing_metadata(told)

    def timeout_s(self, context: Context) -> float | None:
        """Return how long the call may take if it has no deadline of its own."""
        if context.time_remaining() is not None:
            return None  # grpc itself cancels the handler then.
        return self._unary_timeout.total_seconds()

    def record(self, method: str, code: str, started: float) -> None:
        self._load.count(code)
        self._duration.record(
            time.perf_counter() - started,
            {"rpc.method": method.lstrip("/"), "rpc.response.status_code": code},
        )


class _Call:
    """One method's behaviour inside the boundary."""

    def __init__(self, boundary: BoundaryInterceptor, method: str, handler: Handler) -> None:
        self._boundary = boundary
        self._method = method
        self._behaviour: Any = (
            handler.unary_unary
            or handler.stream_unary
            or handler.unary_stream
            or handler.stream_stream
        )

    async def unary(self, request: Any, context: Context) -> Any:
        started = time.perf_counter()
        code = "OK"
        try:
            self._boundary.admit(self._method, context)
            async with asyncio.timeout(self._boundary.timeout_s(context)):
                return await self._behaviour(_checked(request), context)
        except BaseException as error:  # noqa: BLE001 - `refuse` always raises
            code = _code_of(error, context)
            await refuse(error, self._method, context)
        finally:
            self._boundary.record(self._method, code, started)

    async def stream(self, request: Any, context: Context) -> None:
        started = time.perf_counter()
        code = "OK"
        try:
            # A unary call's span is current already; a stream has none and takes the caller's.
            tracing.attach_remote(dict(context.invocation_metadata() or ()))
            self._boundary.admit(self._method, context)
            produced = self._behaviour(_checked(request), context)
            if isinstance(produced, AsyncIterator):
                async for response in produced:
                    await context.write(response)
            else:
                await produced
        except BaseException as error:  # noqa: BLE001 - `refuse` always raises
            code = _code_of(error, context)
            await refuse(error, self._method, context)
        finally:
            self._boundary.record(self._method, code, started)


_MAKE: Mapping[tuple[bool, bool], Callable[..., Handler]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def _guarded(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    if deserialize is None:
        return None

    def guarded(data: bytes) -> Any:
        try:
            return deserialize(data)
        except Exception as error:  # noqa: BLE001 - whatever the bytes did, the client did it
            return Malformed(type(error).__name__)

    return guarded


def _checked(request: Any) -> Any:
    if isinstance(request, AsyncIterator) or hasattr(request, "__aiter__"):
        return _checked_stream(request)
    if isinstance(request, Malformed):
        raise errors.InvalidInput(
            "MALFORMED_REQUEST",
            "The request is no valid protobuf message of the method's type.",
        )
    return request


async def _checked_stream(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _checked(request)


def _code_of(error: BaseException, context: Context) -> str:
    match error:
        case errors.MeshError():
            return status.code_of(error).name
        case TimeoutError():
            return "DEADLINE_EXCEEDED"
        case asyncio.CancelledError():
            return "CANCELLED"
        case grpc.aio.AbortError():
            return _name(context.code())
        case _:
            return "INTERNAL"


def _name(code: object) -> str:
    # The context keeps the code as an int once it was set by abort.
    if isinstance(code, grpc.StatusCode):
        return code.name
    return next((c.name for c in grpc.StatusCode if c.value[0] == code), "UNKNOWN")


async def refuse(error: BaseException, method: str, context: Context) -> NoReturn:
    """Tell the caller of *error*, and nobody of more than it says."""
    match error:
        case errors.MeshError():
            log.info("rpc_refused", method=method, reason=error.reason)
            told = rpc_status.to_status(status.to_status(error))
            await context.abort(told.code, told.details, told.trailing_metadata)
        case asyncio.CancelledError() | grpc.aio.AbortError():
            raise error
        case TimeoutError():
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "The call took too long.")
        case Exception():
            log.error("rpc_bug", method=method, exc_info=error)
            await context.abort(grpc.StatusCode.INTERNAL, "internal error")
        case _:
            raise error
    raise AssertionError("abort always raises")
