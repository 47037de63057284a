"""The discovery clients' state as other people's tools read it: Envoy's own CSDS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from typing import TYPE_CHECKING, Any, Final

import grpc

from gateway.compile.envoy_api import message_class
from gateway.xds.resources import RESOURCE_TYPES
from gateway.xds.subscription import Phase
from meshkit.errors import InvalidInput


if TYPE_CHECKING:
    from gateway.xds.ads import Session
    from gateway.xds.feed import Feed
    from gateway.xds.resources import ResourceType
    from gateway.xds.subscription import State, Subscription

    Context = Any

SERVICE: Final = "envoy.service.status.v3.ClientStatusDiscoveryService"
RESOURCES_MAX: Final = 20_000
"""Resources told of in one answer, of all clients; the rest is left out."""

CONTENT_BYTES_MAX: Final = 2 * 1024 * 1024
"""Contents in one answer; beyond it only names, versions and states are told."""

_STATUS: Final = "envoy.service.status.v3"
_CONFIG_STATUS: Final = {
    Phase.SYNCED: "SYNCED",
    Phase.STALE: "STALE",
    Phase.NOT_SENT: "NOT_SENT",
    Phase.ERROR: "ERROR",
    Phase.ABSENT: "NOT_SENT",
}
_CLIENT_STATUS: Final = {
    Phase.SYNCED: "ACKED",
    Phase.STALE: "REQUESTED",
    Phase.NOT_SENT: "REQUESTED",
    Phase.ERROR: "NACKED",
    Phase.ABSENT: "DOES_NOT_EXIST",
}


class ClientStatusDiscovery:
    """Serves FetchClientStatus and StreamClientStatus from the streams of this replica."""

    def __init__(self, sessions: Collection[Session], feed: Feed) -> None:
        self._sessions = sessions
        self._feed = feed

    def register(self, server: grpc.aio.Server) -> None:
        """Serve on *server*."""
        read: Callable[[bytes], Any] = message_class(f"{_STATUS}.ClientStatusRequest").FromString
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "FetchClientStatus": grpc.unary_unary_rpc_method_handler(
                self.fetch, request_deserializer=read, response_serializer=_bytes
            ),
            "StreamClientStatus": grpc.stream_stream_rpc_method_handler(
                self.stream, request_deserializer=read, response_serializer=_bytes
            ),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    async def fetch(self, request: Any, _: Context) -> Any:
        """
        Return the clients that the request's matchers match; without any, all.

        Raises:
            InvalidInput: A matcher says something else than an exact node id or a prefix of it.

        """
        wanted = [_matcher(one) for one in request.node_matchers]
        response = message_class(f"{_STATUS}.ClientStatusResponse")()
        budget = _Budget(contents=not request.exclude_resource_contents)
        found = sorted(self._sessions, key=lambda one: (one.node_id, one.connect_time))
        for session in found:
            if not wanted or any(fits(session.node_id) for fits in wanted):
                self._add(response.config.add(), session, budget)
        return response

    async def stream(self, requests: AsyncIterator[Any], context: Context) -> None:
        """Answer each request with the state at that time."""
        async for request in requests:
            await context.write(await self.fetch(request, context))

    def _add(self, config: Any, session: Session, budget: _Budget) -> None:
        config.node.id = session.node_id
        config.node.user_agent_name = session.user_agent.partition(" ")[0]
        config.client_scope = session.flavour.value
        newest = self._feed.newest(session.flavour, session.peer, session.node_id)
        for kind in RESOURCE_TYPES:
            subscription = session.plan.subscriptions.get(kind)
            if subscription is None:
                continue
            for state in subscription.states(newest.of(kind)):
                if not budget.takes_resource():
                    return
                _fill(config.generic_xds_configs.add(), kind, subscription, state, budget)


class _Budget:
    """What still fits into an answer."""

    def __init__(self, *, contents: bool) -> None:
        self._resources = RESOURCES_MAX
        self._bytes = CONTENT_BYTES_MAX if contents else 0

    def takes_resource(self) -> bool:
        self._resources -= 1
        return self._resources >= 0

    def takes_content(self, size: int) -> bool:
        self._bytes -= size
        return self._bytes >= 0


def _fill(
    made: Any, kind: ResourceType, subscription: Subscription, state: State, budget: _Budget
) -> None:
    made.type_url, made.name = kind.type_url, state.name
    made.version_info = state.version_held
    for field, label in (
        ("config_status", _CONFIG_STATUS[state.phase]),
        ("client_status", _CLIENT_STATUS[state.phase]),
    ):
        numbers = made.DESCRIPTOR.fields_by_name[field].enum_type.values_by_name
        setattr(made, field, numbers[label].number)
    if state.phase is Phase.ERROR and state.wanted is not None:
        made.error_state.details = subscription.standing.error
        made.error_state.version_info = state.wanted.version
    # A secret is nobody's to read, operators included.
    secret = kind.key == "SDS"
    if state.wanted is not None and not secret and budget.takes_content(len(state.wanted.value)):
        made.xds_config.type_url = kind.type_url
        made.xds_config.value = state.wanted.value


def _matcher(matcher: Any) -> Callable[[str], bool]:
    """Return whether a node id fits."""
    pattern = matcher.node_id.WhichOneof("match_pattern")
    if matcher.node_metadatas or pattern not in ("exact", "prefix"):
        raise InvalidInput(
            "NODE_MATCHER_UNKNOWN",
            "Nodes are matched by id, exact or by prefix.",
            field_violations={"node_matchers": "neither an exact node_id nor a prefix"},
        )
    text = str(getattr(matcher.node_id, pattern))
    return text.__eq__ if pattern == "exact" else lambda node_id: node_id.startswith(text)


def _bytes(message: Any) -> bytes:
    made: bytes = message.SerializeToString()
    return made
