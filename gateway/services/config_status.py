"""The state of the clients' configuration, as a gRPC service."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aerofusion.gateway.v1 import config_status_service_pb2 as rpc
from aerofusion.gateway.v1 import config_status_service_pb2_grpc
from gateway.xds.feed import Feed, Flavour
from gateway.xds.resources import RESOURCE_TYPES


if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from gateway.xds.ads import Session
    from gateway.xds.verdicts import Verdict

    Context = Any

SERVICE = "aerofusion.gateway.v1.ConfigStatusService"

_FLAVOURS = {
    Flavour.EDGE: rpc.ClientStatus.FLAVOUR_EDGE,
    Flavour.PROXYLESS: rpc.ClientStatus.FLAVOUR_PROXYLESS,
}


class ConfigStatusService(config_status_service_pb2_grpc.ConfigStatusServiceServicer):
    """What the streams of this replica have come to."""

    def __init__(
        self, sessions: Collection[Session], feed: Feed, *, revision: Callable[[], int]
    ) -> None:
        self._sessions = sessions
        self._feed = feed
        self._revision = revision

    async def GetConfigStatus(  # noqa: N802
        self, request: rpc.GetConfigStatusRequest, context: Context
    ) -> rpc.GetConfigStatusResponse:
        sessions = [
            one
            for one in self._sessions
            if request.node_id in ("", one.node_id) and one.flavour in _FLAVOURS
        ]
        sessions.sort(key=lambda session: (session.node_id, session.connect_time))
        now = asyncio.get_running_loop().time()
        return rpc.GetConfigStatusResponse(
            revision=self._revision(),
            clients=[_client(session, now) for session in sessions],
            rejections=[
                _rejection(verdict)
                for verdicts in self._feed.verdicts.values()
                for verdict in verdicts.refused()
                if request.node_id in ("", verdict.node_id)
            ],
        )


def _client(session: Session, now: float) -> rpc.ClientStatus:
    status = rpc.ClientStatus(
        node_id=session.node_id,
        peer=session.peer,
        flavour=_FLAVOURS[session.flavour],
        acked_revision=session.plan.acked_revision,
    )
    status.connect_time.FromDatetime(session.connect_time)
    for kind in RESOURCE_TYPES:
        subscription = session.plan.subscriptions.get(kind)
        if subscription is None:
            continue
        standing = subscription.standing
        made = status.types.add(
            type=kind.key,
            version_sent=standing.version_sent,
            version_acked=standing.version_acked,
            version_nacked=standing.version_nacked,
            error=standing.error,
            resources=subscription.held_count(),
        )
        if standing.acked_at is not None:
            ago = timedelta(seconds=now - standing.acked_at)
            made.ack_time.FromDatetime(datetime.now(UTC) - ago)
    return status


def _rejection(verdict: Verdict) -> rpc.Rejection:
    refusal = verdict.refusal
    made = rpc.Rejection(
        type=refusal.kind.key,
        resource=refusal.resource.name,
        version=refusal.resource.version,
        version_served=verdict.served.version if verdict.served else "",
        error=refusal.error,
        node_id=verdict.node_id,
    )
    made.reject_time.FromDatetime(verdict.time)
    return made
