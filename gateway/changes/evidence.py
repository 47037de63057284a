"""What our telemetry knows of a change that some edges have first."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import grpc

from aerofusion.telemetry.v1 import query_service_pb2, query_service_pb2_grpc
from gateway.changes.canary import Evidence, Traffic


if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gateway.changes.hold import Hold
    from meshkit.identity import Workload

ASK_WITHIN_S: Final = 1.5
RECONNECT_MAX_MS: Final = 2_000
SETTLE_S: Final = 4.0
"""
How long after a change began what is counted may still be of before.

Envoy tells its counters each 2 s, the relay telemetry each second; the rest is for slow machines.
"""

BEFORE_S: Final = 60.0
"""How far back the first edges' usual latency is looked for."""

SERVICES_MAX: Final = 16
"""A change of more services is judged by what all services answer."""

_METRICS: Final = (
    "edge_service_rpcs_total|edge_service_requests_total"
    "|edge_service_duration_seconds_sum|edge_service_duration_seconds_count"
)

Sums = dict[tuple[tuple[str, str], ...], float]
"""Counters by their labels."""


class Unheard(Exception):
    """Telemetry can't tell; the text says why, for people."""


class TelemetryEvidence:
    """
    Asks telemetry's `QueryService` for what the edges' Envoys count.

    Args:
        address: Telemetry's, of gRPC; empty: there is none.

    """

    def __init__(self, workload: Workload, address: str) -> None:
        # Where telemetry was away for long, gRPC would look for it every two minutes only.
        options = [("grpc.max_reconnect_backoff_ms", RECONNECT_MAX_MS)]
        self._channel = (
            workload.channel(address, service="telemetry", options=options) if address else None
        )
        self._at_start: tuple[int, Sums, Sums, Sums] | None = None
        """Of which change, the counters: once it is all that counts, at its start, and before."""

    async def close(self) -> None:
        """Let go of the connection."""
        if self._channel is not None:
            await self._channel.close()

    async def ask(self, hold: Hold, began: datetime, now: datetime) -> Evidence:
        """
        Return what is known of *hold*'s services since *began*.

        Raises:
            Unheard: Telemetry is away, or there is none; or it is too early.

        """
        if self._channel is None:
            raise Unheard("telemetry is away: GATEWAY_TELEMETRY_ADDRESS is not set")
        stub = query_service_pb2_grpc.QueryServiceStub(self._channel)
        query = f"{{{_selector(hold.services)}}}"
        # What edges answered just before it began must not count against it.
        start = began.timestamp() + SETTLE_S
        if now.timestamp() < start:
            raise Unheard("it has just begun")
        try:
            if self._at_start is None or self._at_start[0] != hold.last:
                at_start = await _sums(stub, query, start)
                usual = await _sums(stub, query, began.timestamp())
                earlier = await _sums(stub, query, began.timestamp() - BEFORE_S)
                self._at_start = (hold.last, at_start, usual, earlier)
            sums = await _sums(stub, query, now.timestamp())
            newest = await _newest(stub, hold.edges, now.timestamp())
        except grpc.aio.AioRpcError as error:
            why = f"telemetry is away: {error.code().name} {error.details()}"
            raise Unheard(why[:200]) from None
        _, at_start, usual, earlier = self._at_start
        return Evidence(
            first=_traffic(sums, at_start, lambda edge: edge in hold.edges),
            others=_traffic(sums, at_start, lambda edge: edge not in hold.edges),
            before=_traffic(usual, earlier, lambda edge: edge in hold.edges),
            age_s=max(0.0, now.timestamp() - newest),
        )


def _selector(services: Collection[str]) -> str:
    found = f'__name__=~"{_METRICS}"'
    if 0 < len(services) <= SERVICES_MAX:
        names = "|".join(re.escape(name).replace("\\", "\\\\") for name in sorted(services))
        found += f',service=~"{names}"'
    return found


async def _instant(stub: Any, query: str, at: float) -> Any:
    request = query_service_pb2.QueryInstantRequest(query=query)
    request.time.FromDatetime(datetime.fromtimestamp(at, UTC))
    return await stub.QueryInstant(request, timeout=ASK_WITHIN_S)


async def _sums(stub: Any, query: str, at: float) -> Sums:
    answer = await _instant(stub, query, at)
    return {tuple(sorted(one.labels.items())): one.values[-1] for one in answer.series}


async def _newest(stub: Any, edges: Collection[str], at: float) -> float:
    """Return when telemetry last heard of those of *edges* that tell anything; or of any edge."""
    names = "|".join(re.escape(name).replace("\\", "\\\\") for name in sorted(edges))
    for query in (
        f'min(max by (edge) (timestamp(edge_service_requests_total{{edge=~"{names}"}})))',
        "max(timestamp(envoy_server_live))",
    ):
        answer = await _instant(stub, query, at)
        if answer.series:
            return float(answer.series[0].values[-1])
    return 0.0


def _traffic(now: Sums, then: Sums, wanted: Any) -> Traffic:
    """Return what was counted in between; a counter that fell began anew."""
    counted: dict[str, float] = {"rpcs": 0, "rpc_errors": 0, "requests": 0, "5xx": 0, "s": 0}
    for labels, value in now.items():
        told: Mapping[str, str] = dict(labels)
        if not wanted(told.get("edge", "")):
            continue
        start = then.get(labels, 0.0)
        grown = value - start if value >= start else value
        match told["__name__"]:
            case "edge_service_rpcs_total":
                counted["rpcs"] += grown
                counted["rpc_errors"] += grown if told.get("outcome") == "server_error" else 0
            case "edge_service_requests_total":
                counted["requests"] += grown
                counted["5xx"] += grown if told.get("code") == "5xx" else 0
            case "edge_service_duration_seconds_sum":
                counted["s"] += grown
    # A failed gRPC call may be among both.
    return Traffic(
        requests=max(counted["rpcs"], counted["requests"]),
        errors=max(counted["rpc_errors"], counted["5xx"]),
        seconds=counted["s"],
    )
