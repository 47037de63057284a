"""The registry's API: protobuf in, registrations out. Who may do what is decided here."""
# ruff: noqa: N802 - methods are named as in the contract

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from aerofusion.gateway.v1 import registry_service_pb2 as rpc
from aerofusion.gateway.v1 import registry_service_pb2_grpc, service_pb2
from gateway.identity.service import PROXIED
from gateway.model import Endpoint, Health
from gateway.services.generic import fill, to_model
from gateway.sources.leases import UNHELD
from gateway.store.registrations import Registration
from gateway.validation.checks import Problems, checked_service_name, refuse
from gateway.validation.service import check_endpoint
from meshkit.authz import current_caller
from meshkit.errors import (
    FailedPrecondition,
    InvalidInput,
    NotFound,
    Overloaded,
    PermissionDenied,
    Unavailable,
)


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

    from google.protobuf.duration_pb2 import Duration

    from gateway.model import Catalog, Service
    from gateway.sources.registry import Registry

    Context = Any

SERVICE: Final = "aerofusion.gateway.v1.RegistryService"
STREAMS_MAX: Final = 1_000
WATCHES_MAX: Final = 500
NAMES_MAX: Final = 1_000
LEASE_DEFAULT: Final = timedelta(seconds=10)
_LEASE: Final = (timedelta(seconds=1), timedelta(seconds=300))
_DRAIN: Final = (timedelta(0), timedelta(hours=1))
_HEARTBEATS_A_LEASE: Final = 3


class RegistryService(registry_service_pb2_grpc.RegistryServiceServicer):
    """
    Registrations by the replicas themselves.

    Args:
        catalog: Returns the newest.
        stopping: Set when this gateway is going down: streams that end then have not broken.

    """

    def __init__(
        self, registry: Registry, *, catalog: Callable[[], Catalog], stopping: asyncio.Event
    ) -> None:
        self._registry = registry
        self._catalog = catalog
        self._stopping = stopping
        self._streams = 0
        self._watches = 0

    async def Register(
        self, request: rpc.RegisterRequest, context: Context
    ) -> rpc.RegisterResponse:
        service = self._service_of_caller(request.service, context)
        endpoint = _endpoint(request.registration.endpoint, _peer(context))
        lease = LEASE_DEFAULT
        if request.registration.HasField("lease"):
            lease = _duration(request.registration.lease, "registration.lease", _LEASE)
        replica = current_caller().subject
        place = f"{replica} {endpoint.address} {endpoint.port}"
        mark = hashlib.sha256(place.encode()).hexdigest()[:20]
        now = datetime.now(UTC)
        wanted = Registration(
            name=f"{service.name}/registrations/{mark}",
            service=service.name,
            replica=replica,
            endpoint=endpoint,
            lease=lease,
            create_time=now,
            expire_time=now + lease,
        )
        made = await self._registry.store.put(wanted)
        await self._registry.changed()
        return rpc.RegisterResponse(registration=_out(made))

    async def Heartbeat(
        self, request: rpc.HeartbeatRequest, context: Context
    ) -> rpc.HeartbeatResponse:
        _check_direct(context)
        return rpc.HeartbeatResponse(gone=self._heartbeat(request.names, UNHELD))

    async def KeepAlive(  # type: ignore[override]  # it writes, so that its end is its own
        self, requests: AsyncIterator[rpc.KeepAliveRequest], context: Context
    ) -> None:
        _check_direct(context)
        if self._streams >= STREAMS_MAX:
            raise Overloaded(
                "TOO_MANY_REGISTRY_STREAMS", "As many streams are open as this gateway takes."
            )
        self._streams += 1
        holder = uuid.uuid4().hex
        kept: set[str] = set()
        finished = False
        stopper = asyncio.create_task(self._stopping.wait())
        try:
            while (request := await _next(requests, stopper)) is not None:
                names = set(request.names)
                self._registry.leases.dropped(kept - names, holder)
                gone = self._heartbeat(names, holder)
                kept = names.difference(gone)
                answer = rpc.KeepAliveResponse(gone=gone)
                answer.next.FromTimedelta(self._pause(kept))
                await context.write(answer)
            if self._stopping.is_set():
                raise Unavailable("SHUTTING_DOWN", "This replica is stopping; connect again.")
            # A broken stream may look like one that came to its end: only the latter takes more.
            await context.write(rpc.KeepAliveResponse())
            finished = True
        finally:
            self._streams -= 1
            stopper.cancel()
            leases = self._registry.leases
            if finished or self._stopping.is_set():
                leases.dropped(kept, holder)
            else:
                leases.broken(kept, holder, asyncio.get_running_loop().time())
                self._registry.poke()

    async def Deregister(
        self, request: rpc.DeregisterRequest, context: Context
    ) -> rpc.DeregisterResponse:
        _check_direct(context)
        _check_name(request.name)
        known = self._registry.get(request.name)
        if known is None:
            return rpc.DeregisterResponse()
        _check_own(known)
        wait = _duration(request.drain, "drain", _DRAIN) if request.HasField("drain") else None
        if wait:
            await self._registry.store.drain(request.name, wait)
        else:
            await self._registry.store.leave(request.name)
        await self._registry.changed()
        return rpc.DeregisterResponse()

    async def ListRegistrations(
        self, request: rpc.ListRegistrationsRequest, context: Context
    ) -> rpc.ListRegistrationsResponse:
        checked_service_name(request.service)
        found = self._registry.of(request.service)
        return rpc.ListRegistrationsResponse(registrations=[_out(one) for one in found])

    async def WatchRegistrations(
        self, request: rpc.WatchRegistrationsRequest, context: Context
    ) -> AsyncIterator[rpc.WatchRegistrationsResponse]:
        checked_service_name(request.service)
        if self._watches >= WATCHES_MAX:
            raise Overloaded(
                "TOO_MANY_REGISTRY_STREAMS", "As many streams are open as this gateway takes."
            )
        self._watches += 1
        wake = asyncio.Event()
        stop = self._registry.watch(request.service, wake.set)
        stopper = asyncio.create_task(_wake_to_stop(self._stopping, wake))
        try:
            async for step in self._steps(request, wake):
                yield step
        finally:
            self._watches -= 1
            stopper.cancel()
            stop()

    async def _steps(
        self, request: rpc.WatchRegistrationsRequest, wake: asyncio.Event
    ) -> AsyncIterator[rpc.WatchRegistrationsResponse]:
        registry, service = self._registry, request.service
        token = request.resume_token
        seq = int(token) if token.isdigit() and len(token) < 19 else -1
        if not registry.purged <= seq <= registry.seq:
            # Unknown here: too old, or another gateway's that knows more. All of it, then.
            seq = registry.seq
            found = [_out(one) for one in registry.of(service)]
            yield rpc.WatchRegistrationsResponse(
                registrations=found, reset=True, resume_token=str(seq)
            )
        while not self._stopping.is_set():
            wake.clear()
            changes = registry.since(service, seq)
            if changes:
                seq = changes[-1].seq
                yield rpc.WatchRegistrationsResponse(
                    registrations=[_out(one) for one in changes if not one.gone],
                    gone=[one.name for one in changes if one.gone],
                    resume_token=str(seq),
                )
            await wake.wait()
        raise Unavailable("SHUTTING_DOWN", "This replica is stopping; connect again.")

    def _heartbeat(self, names: Collection[str], holder: str) -> list[str]:
        if len(names) > NAMES_MAX:
            raise InvalidInput(
                "INVALID_REGISTRATION",
                f"At most {NAMES_MAX} names at once.",
                field_violations={"names": "too many"},
            )
        for name in names:
            known = self._registry.get(name)
            if known is not None:
                _check_own(known)
        return self._registry.heartbeat(names, current_caller().subject, holder)

    def _pause(self, names: Collection[str]) -> timedelta:
        leases = [known.lease for name in names if (known := self._registry.get(name)) is not None]
        return min(leases, default=LEASE_DEFAULT) / _HEARTBEATS_A_LEASE

    def _service_of_caller(self, name: str, context: Context) -> Service:
        """Return the service, which the caller is a replica of."""
        _check_direct(context)
        checked_service_name(name)
        service = self._catalog().services.get(name)
        if service is None:
            raise NotFound("SERVICE_NOT_FOUND", f"There is no {name}.", name=name)
        if service.identity != current_caller().service:
            raise PermissionDenied(
                "NOT_YOUR_SERVICE", "Only replicas of a service may register themselves as it."
            )
        if service.discovery.registry is None:
            raise FailedPrecondition(
                "SERVICE_NOT_DISCOVERED", f"{name} doesn't take its endpoints from the registry."
            )
        return service


async def _next(requests: AsyncIterator[Any], stopper: asyncio.Task[Any]) -> Any:
    """Return the next request; None: there is none, or we are stopping."""
    reader = asyncio.ensure_future(anext(requests, None))
    await asyncio.wait({reader, stopper}, return_when=asyncio.FIRST_COMPLETED)
    if reader.done():
        return reader.result()
    reader.cancel()
    return None


async def _wake_to_stop(stopping: asyncio.Event, wake: asyncio.Event) -> None:
    await stopping.wait()
    wake.set()


def _check_direct(context: Context) -> None:
    """Refuse what a proxy has passed on: its identity and address would be taken for the caller's."""
    names = [key for key, _ in context.invocation_metadata() or ()]
    if current_caller().through_edge or any(name.startswith(PROXIED) for name in names):
        raise PermissionDenied(
            "CALL_NOT_DIRECT", "Replicas register on a connection of their own only."
        )


def _check_own(known: Registration) -> None:
    if known.replica != current_caller().subject:
        raise PermissionDenied(
            "NOT_YOUR_REGISTRATION", "Only who registered a replica may keep or end that."
        )


def _check_name(name: str) -> None:
    service, middle, mark = name.partition("/registrations/")
    checked_service_name(service)
    if not middle or not mark or len(mark) > 40:
        raise InvalidInput(
            "INVALID_NAME",
            "A registration has the name services/{service}/registrations/{id}.",
            field_violations={"name": "not the name of a registration"},
        )


def _peer(context: Context) -> str:
    """Return the address that the call comes from; "" if that isn't an IP address."""
    kind, _, rest = context.peer().partition(":")
    host = rest.rpartition(":")[0].replace("%5B", "[").replace("%5D", "]").strip("[]")
    if kind not in ("ipv4", "ipv6"):
        return ""
    try:
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        return ""


def _endpoint(message: service_pb2.Endpoint, peer: str) -> Endpoint:
    """
    Return where the caller says it is, if that is plausible.

    Raises:
        InvalidInput: INVALID_REGISTRATION.

    """
    problems: Problems = {}
    at = "endpoint"
    endpoint = to_model(Endpoint, message, address=message.address or peer)
    check_endpoint(problems, at, endpoint)
    if endpoint.health is not Health.HEALTHY:
        problems[f"{at}.health"] = "is ours to say; leave it out"
    if f"{at}.address" not in problems:
        problem = _implausible(endpoint.address, peer)
        if problem:
            problems[f"{at}.address"] = problem
    refuse(problems, "INVALID_REGISTRATION", "registration")
    return endpoint


def _implausible(address: str, peer: str) -> str:
    """Return why a replica at *peer* can't be reached at *address*; "": it may be."""
    said = ipaddress.ip_address(address)
    if said.is_unspecified or said.is_multicast or said.is_link_local or said.is_reserved:
        return "not an address that others can reach"
    if said.is_loopback and not (peer and ipaddress.ip_address(peer).is_loopback):
        return "a loopback address, and the call comes from another machine"
    return ""


def _duration(message: Duration, field: str, bounds: tuple[timedelta, timedelta]) -> timedelta:
    seconds = max(-1, min(message.seconds, 10**6))
    value = timedelta(seconds=seconds, microseconds=message.nanos // 1000)
    if not bounds[0] <= value <= bounds[1]:
        least, most = (bound.total_seconds() for bound in bounds)
        raise InvalidInput(
            "INVALID_REGISTRATION",
            f"{field} must be {least:g} s to {most:g} s.",
            field_violations={field: f"must be {least:g} s to {most:g} s"},
        )
    return value


def _out(one: Registration) -> rpc.Registration:
    message = rpc.Registration(name=one.name, replica=one.replica)
    fill(message.endpoint, one.endpoint)
    message.lease.FromTimedelta(one.lease)
    message.create_time.FromDatetime(one.create_time)
    message.expire_time.FromDatetime(one.expire_time)
    return message
