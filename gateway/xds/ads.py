"""The aggregated discovery service: streams around the pure plans."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from opentelemetry import metrics

from gateway.changes.receipts import Refused
from gateway.compile.envoy_api import message_class
from gateway.xds import names, wire
from gateway.xds.admission import Admission, Turn
from gateway.xds.delta import DeltaSubscription
from gateway.xds.feed import Feed, Flavour
from gateway.xds.plan import Plan
from gateway.xds.resources import BY_TYPE_URL, ResourceType
from gateway.xds.sotw import SotwSubscription
from gateway.xds.subscription import Push, Request
from meshkit.authz import EDGE, OPERATOR, current_caller
from meshkit.errors import InvalidInput, Overloaded, PermissionDenied, Unavailable


if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.changes.receipts import Receipts
    from gateway.xds.resources import Snapshot
    from meshkit.authz import Caller

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
DELTA_METHOD = f"/{SERVICE}/DeltaAggregatedResources"
SOTW_METHOD = f"/{SERVICE}/StreamAggregatedResources"

_MAY_BE = {
    Flavour.EDGE: frozenset({EDGE, OPERATOR}),
    # It has a say in what the fleet gets: only what the operator runs beside the gateway.
    Flavour.PREFLIGHT: frozenset({OPERATOR}),
}
"""Who may be configured as what; as a gRPC client, whoever may call."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class AdsLimits:
    """Every bound of the discovery streams."""

    streams_max: int = 500
    """Streams at once; more are refused."""

    first_request_timeout: timedelta = timedelta(seconds=5)
    """A stream that says nothing for this long after it began is closed."""

    barrier_timeout: timedelta = timedelta(seconds=10)
    """How long a client's missing answer holds its own plan up."""

    settle: timedelta = timedelta(seconds=1)
    """How long a client that comes back has to say what it holds before it loses anything."""

    starting_max: int = 50
    """Streams that are brought up to date at once, each for as long as `barrier_timeout` at the
    most; others wait for their turn."""

    names_max: int = 100_000
    """Names in one request."""


@dataclass(frozen=True, slots=True)
class _Variant:
    """How one of the two variants is read and written."""

    subscription: Callable[[ResourceType], Any]
    read: Callable[[Any], Request]
    write: Callable[[Push], bytes]


class Session:
    """One stream."""

    def __init__(
        self, node_id: str, caller: Caller, flavour: Flavour, plan: Plan, user_agent: str
    ) -> None:
        self.node_id = node_id
        self.peer = peer_of(caller)
        self.flavour = flavour
        self.user_agent = user_agent
        self.plan = plan
        self.connect_time = datetime.now(UTC)
        self.wake = asyncio.Event()


class AggregatedDiscovery:
    """Serves both variants from one feed."""

    def __init__(
        self, feed: Feed, *, limits: AdsLimits, stopping: asyncio.Event, receipts: Receipts
    ) -> None:
        self.sessions: set[Session] = set()
        self.watchers: list[Callable[[Session], None]] = []
        """Each is called, and must not block, when a session takes a step, and at its end."""

        self._feed = feed
        self._limits = limits
        self._stopping = stopping
        self._receipts = receipts
        self._admission = Admission(limits.starting_max)
        meter = metrics.get_meter("gateway")
        self._pushes = meter.create_counter("gateway.xds.pushes", description="Responses sent")
        self._refusals = meter.create_counter(
            "gateway.xds.refusals", description="Resources that clients refused"
        )
        meter.create_observable_gauge(
            "gateway.xds.streams",
            callbacks=[lambda _: [metrics.Observation(len(self.sessions))]],
            description="Streams open",
        )
        meter.create_observable_gauge(
            "gateway.xds.streams.waiting",
            callbacks=[lambda _: [metrics.Observation(self._admission.waiting)]],
            description="Streams that wait to be brought up to date",
        )

    def register(self, server: grpc.aio.Server) -> None:
        """Serve on *server*."""
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            method.rpartition("/")[2]: grpc.stream_stream_rpc_method_handler(
                self._handler(variant),
                request_deserializer=message_class(f"{wire.DISCOVERY}.{message}Request").FromString,
                response_serializer=bytes,
            )
            for method, message, variant in (
                (DELTA_METHOD, "DeltaDiscovery", _DELTA),
                (SOTW_METHOD, "Discovery", _SOTW),
            )
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    def _handler(self, variant: _Variant) -> Callable[[AsyncIterator[Any], Any], Any]:
        async def handle(requests: AsyncIterator[Any], context: Any) -> None:
            await self._stream(variant, requests, context)

        return handle

    async def _stream(self, variant: _Variant, requests: AsyncIterator[Any], context: Any) -> None:
        if len(self.sessions) >= self._limits.streams_max:
            raise Overloaded(
                "TOO_MANY_ADS_STREAMS",
                "As many discovery streams are open as this replica takes; try another.",
            )
        first = await self._first(requests)
        caller = current_caller()
        flavour = Flavour.of(first.node.user_agent_name, first.node.cluster)
        if caller.service not in _MAY_BE.get(flavour, {caller.service}):
            raise PermissionDenied(
                "CALLER_NOT_ALLOWED", f"The caller may not be configured as {flavour.value}."
            )
        if caller.service != EDGE or flavour is not Flavour.PROXYLESS:
            # A relay passes the streams of gRPC clients beside it on, whoever they are.
            self._check_node(first.node.id, caller)
        plan = Plan(
            variant.subscription,
            barrier_timeout=self._limits.barrier_timeout.total_seconds(),
            settle=self._limits.settle.total_seconds(),
        )
        session = Session(first.node.id, caller, flavour, plan, _user_agent(first.node))
        log.info("ads_opened", node=session.node_id, peer=session.peer, flavour=flavour.value)
        unwatch = self._feed.watch(flavour, session.wake.set)
        self._feed.opened(session.node_id, plan)
        reader = asyncio.create_task(self._read(session, variant, first, requests))
        turn = self._admission.ask(session.wake.set, empty=not _holds(first))
        del first  # It may name all there is; the stream lives long.
        stopper = asyncio.create_task(self._wake_to_stop(session))
        self.sessions.add(session)
        if flavour is not Flavour.PREFLIGHT:
            self._receipts.opened(session.node_id, flavour.value)
        try:
            await self._write(session, variant, reader, context, turn)
        finally:
            turn.leave()
            self.sessions.discard(session)
            if flavour is not Flavour.PREFLIGHT:
                self._receipts.closed(session.node_id)
            self._feed.closed(session.node_id, plan)
            self._tell(session)
            unwatch()
            for task in (reader, stopper):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task
            log.info("ads_closed", node=session.node_id, peer=session.peer)

    def _check_node(self, node_id: str, caller: Caller) -> None:
        """Refuse a node that its peer's certificate doesn't stand for, or somebody else's."""
        names.check_node(node_id, caller.service)
        peer = peer_of(caller)
        taken = any(one.node_id == node_id and one.peer != peer for one in self.sessions)
        if node_id and taken and caller.service != OPERATOR:
            raise PermissionDenied(
                "NODE_IN_USE", "Another process is connected as this node.", node=node_id[:200]
            )

    async def _first(self, requests: AsyncIterator[Any]) -> Any:
        try:
            async with asyncio.timeout(self._limits.first_request_timeout.total_seconds()):
                return await anext(requests)
        except (TimeoutError, StopAsyncIteration):
            raise InvalidInput(
                "ADS_REQUEST_MISSING", "A discovery stream begins with a request."
            ) from None

    async def _read(
        self, session: Session, variant: _Variant, first: Any, requests: AsyncIterator[Any]
    ) -> None:
        """Take note of each request; ends with the client's side of the stream."""
        try:
            self._note(session, variant, first)
            del first
            async for message in requests:
                self._note(session, variant, message)
                del message
        finally:
            session.wake.set()

    async def _wake_to_stop(self, session: Session) -> None:
        await self._stopping.wait()
        session.wake.set()

    async def _write(
        self,
        session: Session,
        variant: _Variant,
        reader: asyncio.Task[None],
        context: Any,
        turn: Turn,
    ) -> None:
        loop = asyncio.get_running_loop()
        give_up: float | None = None
        while not self._stopping.is_set():
            if reader.done():
                await reader
                return
            session.wake.clear()
            # The preflight's answer is what all others wait for.
            if turn.waits and session.flavour is not Flavour.PREFLIGHT:
                await session.wake.wait()
                continue
            give_up = give_up or loop.time() + self._limits.barrier_timeout.total_seconds()
            newest = self._feed.newest(session.flavour, session.peer, session.node_id)
            session.plan.on_snapshot(newest)
            acked = session.plan.acked
            pushes = session.plan.step(loop.time())
            self._receive(session, pushes, acked, newest)
            for push in pushes:
                self._pushes.add(1, {"type": push.kind.key})
                await context.write(variant.write(push))
            deadline = session.plan.deadline()
            if session.plan.rests or loop.time() >= give_up:
                turn.leave()
            elif not turn.over:
                deadline = min(give_up, deadline) if deadline is not None else give_up
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await session.wake.wait()
        raise Unavailable("SHUTTING_DOWN", "This replica is stopping; connect again.")

    def _receive(
        self, session: Session, pushes: Sequence[Push], acked: Snapshot | None, newest: Snapshot
    ) -> None:
        """Write down what a step of the plan means for the changes under way."""
        self._tell(session)
        plan, now = session.plan, datetime.now(UTC)
        if plan.acked is not acked:
            self._receipts.acknowledged(
                session.node_id, plan.acked_revision, now, newest=plan.acked is newest
            )
        if pushes:
            names = [(p.kind.key, name) for p in pushes for name in p.names()]
            self._receipts.sent(session.node_id, plan.target_revision, names, now)

    def _tell(self, session: Session) -> None:
        for watcher in self.watchers:
            watcher(session)

    def _note(self, session: Session, variant: _Variant, message: Any) -> None:
        kind = BY_TYPE_URL.get(message.type_url)
        if kind is None:
            # Another kind of resource isn't an error: there simply is none.
            log.debug("ads_unknown_type", type_url=message.type_url, node=session.node_id)
            return
        request = variant.read(message)
        if len(request.names) > self._limits.names_max:
            raise InvalidInput("ADS_TOO_MANY_NAMES", "The request names too many resources.")
        now = datetime.now(UTC)
        heard = self._feed.hear(
            session.flavour,
            session.node_id,
            session.plan,
            kind,
            request,
            now=asyncio.get_running_loop().time(),
            time=now,
        )
        if request.error:
            log.warning(
                "ads_refused",
                node=session.node_id,
                type=kind.key,
                resources=[refusal.resource.name for refusal in heard.refusals],
                error=request.error,
            )
        if heard.refusals:
            self._refusals.add(len(heard.refusals), {"type": kind.key})
            self._receipts.refused(
                session.node_id,
                [
                    Refused(type=one.kind.key, resource=one.resource.name, error=one.error)
                    for one in heard.refusals
                ],
            )
        elif heard.accepted and kind.key == "CDS":
            self._receipts.warm(session.node_id, session.plan.target_revision, now)
        session.wake.set()


def _holds(first: Any) -> bool:
    """Return whether a client that begins says that it has something from an earlier stream."""
    if "initial_resource_versions" in first.DESCRIPTOR.fields_by_name:
        return bool(first.initial_resource_versions)
    return bool(first.version_info)


def peer_of(caller: Caller) -> str:
    """Return a caller's SPIFFE id."""
    return f"spiffe://aerofusion/{caller.service}/{caller.replica}"


def _user_agent(node: Any) -> str:
    """Return what the client says it is, such as `envoy 1.40.0`."""
    version = node.user_agent_build_version.version
    number = f"{version.major_number}.{version.minor_number}.{version.patch}"
    if not node.HasField("user_agent_build_version"):
        number = node.user_agent_version
    return f"{node.user_agent_name} {number}".strip()[:100]


_DELTA = _Variant(DeltaSubscription, wire.read_delta, wire.write_delta)
_SOTW = _Variant(SotwSubscription, wire.read_sotw, wire.write_sotw)
