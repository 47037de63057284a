"""
Methods that are called so often that tracing and timing them would be most of their cost.

Who calls is proven and authorised by the same table as for every other method, and errors are told
in the same way; spans, durations and messages are the method's own business.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import grpc

from meshkit.authz import OPERATOR
from meshkit.boundary import NOBODY, refuse
from meshkit.errors import PermissionDenied
from meshkit.identity import SpiffeId, peer_spiffe_id


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from meshkit.authz import Rule
    from meshkit.tracing import Continuation, Handler

    Behaviour = Callable[[bytes, SpiffeId], Awaitable[bytes]]
    """Takes a serialised request and who asks; returns the serialised answer."""

    Context = Any


class FastPath(grpc.aio.ServerInterceptor):
    """
    The only interceptor that gRPC knows: it stands before *others*, and its methods pass none of them.

    What the others make of a method's handler depends on the method alone, so it is made once:
    grpc.aio would ask all of them anew with every call. Methods that nobody serves aren't kept.
    """

    def __init__(
        self, policy: Mapping[str, Rule], others: Sequence[grpc.aio.ServerInterceptor]
    ) -> None:
        self._policy = policy
        self._others = others
        self._handlers: dict[str, Handler] = {}

    def add(self, method: str, behaviour: Behaviour) -> None:
        """Answer *method*, for processes that call by themselves: a user's call has a token."""
        rule = self._policy.get(method, NOBODY)

        async def guarded(request: bytes, context: Context) -> bytes:
            try:
                return await behaviour(request, _authorised(rule, method, context))
            except BaseException as error:  # noqa: BLE001 - `refuse` always raises
                await refuse(error, method, context)

        self._handlers[method] = grpc.unary_unary_rpc_method_handler(guarded)

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = self._handlers.get(details.method)
        if handler is None:
            for other in reversed(self._others):
                continuation = functools.partial(other.intercept_service, continuation)
            handler = await continuation(details)
            if handler is not None:
                self._handlers[details.method] = handler
        return handler


def _authorised(rule: Rule, method: str, context: Context) -> SpiffeId:
    if context.peer().startswith("unix:"):
        peer = SpiffeId(OPERATOR, "local")
    else:
        peer = peer_spiffe_id(context.auth_context() or {})
    if peer.service not in rule.services:
        raise PermissionDenied(
            "CALLER_NOT_ALLOWED",
            "The caller may not call this method; an operator can grant the role it needs.",
            method=method,
        )
    return peer
