"""
The catalog's limits, kept by a service itself for callers that come without the edge.

The gateway tells which limits concern the service; while it is away the last known hold, and
before the first time none. Calls that the edge passed on were counted there.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio
import structlog
from opentelemetry import metrics

from aerofusion.gateway.v1 import limit_service_pb2, limit_service_pb2_grpc
from meshkit.errors import Overloaded
from meshkit.gcra import NS, Gcra


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from aerofusion.gateway.v1.limit_pb2 import LimitKey
    from meshkit.authz import Caller
    from meshkit.identity import Workload

BUCKETS_MAX: Final = 50_000
"""Buckets remembered; beyond it those unused for longest are forgotten."""

RETRY_S: Final = 2.0
ABSENT: Final = "-"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What limits count a call by."""

    method: str
    """Full path, such as `/aerofusion.sync.v1.SyncService/Push`."""

    service: str
    """Of the caller's certificate."""

    tenant: str = ""
    peer: str = ""
    """As grpcio tells it, such as `ipv4:127.0.0.1:5000`."""

    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    keys: tuple[LimitKey, ...]
    grpc_services: frozenset[str]
    methods: frozenset[str]
    gcra: Gcra
    cost: int
    shadow: bool

    def is_about(self, method: str) -> bool:
        path = method.removeprefix("/")
        return path in self.methods or path.rpartition("/")[0] in self.grpc_services


_Key = tuple[str, Gcra, int, tuple[str, ...]]


class Buckets:
    """The rules and their buckets. Pure: time is an argument."""

    def __init__(self) -> None:
        self._rules: tuple[_Rule, ...] = ()
        self._states: dict[_Key, int] = {}

    def replace(self, rules: Iterable[Any]) -> None:
        """Keep these `LimitRule`s from now on; buckets of those that stay as they are stay."""
        self._rules = tuple(_rule(one) for one in rules)

    def check(self, call: Call, now_ns: int) -> tuple[str, ...]:
        """
        Count a call, in all its buckets or in none; returns the shadow limits that would refuse.

        Raises:
            Overloaded: LIMIT_REACHED.

        """
        taken = [
            (key, rule, rule.gcra.decide(self._states.get(key, 0), now_ns, rule.cost))
            for key, rule in self._about(call)
        ]
        refusals = [one for one in taken if not (one[2].allowed or one[1].shadow)]
        if refusals:
            _, rule, decision = max(refusals, key=lambda one: one[2].retry_after_ns)
            raise Overloaded(
                "LIMIT_REACHED",
                f"{rule.name} is reached; wait before the next call.",
                retry_after=timedelta(microseconds=math.ceil(decision.retry_after_ns / 1000)),
                limit=rule.name,
            )
        for key, _, decision in taken:
            self._states.pop(key, None)
            self._states[key] = decision.state  # Behind all others: used last.
        while len(self._states) > BUCKETS_MAX:
            del self._states[next(iter(self._states))]
        return tuple(rule.name for _, rule, decision in taken if not decision.allowed)

    def _about(self, call: Call) -> Iterator[tuple[_Key, _Rule]]:
        for rule in self._rules:
            if rule.is_about(call.method):
                values = tuple(_value(one, call) for one in rule.keys)
                yield (rule.name, rule.gcra, rule.cost, values), rule


class CallLimits:
    """
    The limits of one process's gRPC server. `run` follows the gateway's.

    Args:
        gateway_address: Empty: there are no limits.

    """

    def __init__(self, workload: Workload, gateway_address: str) -> None:
        self._workload = workload
        self._address = gateway_address
        self._buckets = Buckets()
        self._exceeded = metrics.get_meter("meshkit").create_counter(
            "rpc.server.limits.exceeded", description="Calls beyond a limit, refused or in shadow"
        )

    def check(self, method: str, caller: Caller, context: Any) -> None:
        """
        Count a call of *caller*, who is proven and allowed to make it.

        Raises:
            Overloaded: LIMIT_REACHED.

        """
        if caller.through_edge:
            return
        metadata = {k: v for k, v in context.invocation_metadata() or () if isinstance(v, str)}
        call = Call(
            method=method,
            service=caller.service,
            tenant=caller.tenant,
            peer=context.peer(),
            metadata=metadata,
        )
        try:
            shadows = self._buckets.check(call, time.monotonic_ns())
        except Overloaded as error:
            self._exceeded.add(1, {"limit": error.metadata["limit"], "shadow": False})
            raise
        for name in shadows:
            self._exceeded.add(1, {"limit": name, "shadow": True})

    async def run(self, grpc_services: Sequence[str]) -> None:
        """Follow the limits of *grpc_services*, until cancelled."""
        if not self._address:
            return
        request = limit_service_pb2.WatchLimitsRequest(grpc_services=grpc_services)
        async with self._workload.channel(self._address) as channel:
            stub = limit_service_pb2_grpc.LimitServiceStub(channel)
            while True:
                try:
                    async for answer in stub.WatchLimits(request):
                        self._buckets.replace(answer.rules)
                        log.info("limits_known", limits=[one.limit.name for one in answer.rules])
                except grpc.aio.AioRpcError as error:
                    log.info("limits_not_followed", code=error.code().name)
                await asyncio.sleep(RETRY_S)


def _rule(rule: limit_service_pb2.LimitRule) -> _Rule:
    limit, replicas = rule.limit, max(1, rule.replicas)
    cost = limit.cost or 1
    burst = max(cost, (limit.burst or limit.requests) // replicas, 1)
    return _Rule(
        name=limit.name,
        keys=tuple(limit.keys),
        grpc_services=frozenset(rule.grpc_services),
        methods=frozenset(rule.methods),
        gcra=Gcra(limit.requests, (limit.interval.seconds or 1) * NS * replicas, burst),
        cost=cost,
        shadow=limit.shadow,
    )


def _value(key: LimitKey, call: Call) -> str:
    kind = key.WhichOneof("key")
    if kind == "tenant":
        return call.tenant or ABSENT
    if kind == "subject":
        return f"services/{call.service}"
    if kind == "remote_address":
        return call.peer.partition(":")[2].rpartition(":")[0] or ABSENT
    if kind == "method":
        return call.method
    if kind == "header":
        return call.metadata.get(key.header, ABSENT)
    return ABSENT  # A process has no token: neither claims nor a key.
