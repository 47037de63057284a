"""What our telemetry knows of a change that some edges have first."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from gateway.changes.canary import Evidence, Traffic
from gateway.telemetry import Unheard


if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from gateway.changes.hold import Hold
    from gateway.telemetry import Sums, Telemetry

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


class TelemetryEvidence:
    """What the edges' Envoys counted, as telemetry knows it."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._at_start: tuple[int, Sums, Sums, Sums] | None = None
        """Of which change, the counters: once it is all that counts, at its start, and before."""

    async def ask(self, hold: Hold, began: datetime, now: datetime) -> Evidence:
        """
        Return what is known of *hold*'s services since *began*.

        Raises:
            Unheard: Telemetry is away, or there is none; or it is too early.

        """
        ask = self._telemetry.at
        query = f"{{{_selector(hold.services)}}}"
        # What edges answered just before it began must not count against it.
        start = began.timestamp() + SETTLE_S
        if now.timestamp() < start:
            raise Unheard("it has just begun")
        if self._at_start is None or self._at_start[0] != hold.last:
            at_start = await ask(query, start)
            usual = await ask(query, began.timestamp())
            earlier = await ask(query, began.timestamp() - BEFORE_S)
            self._at_start = (hold.last, at_start, usual, earlier)
        sums = await ask(query, now.timestamp())
        newest = await _newest(self._telemetry, hold.edges, now.timestamp())
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


async def _newest(telemetry: Telemetry, edges: Collection[str], at: float) -> float:
    """Return when telemetry last heard of those of *edges* that tell anything; or of any edge."""
    names = "|".join(re.escape(name).replace("\\", "\\\\") for name in sorted(edges))
    for query in (
        f'min(max by (edge) (timestamp(edge_service_requests_total{{edge=~"{names}"}})))',
        "max(timestamp(envoy_server_live))",
    ):
        for value in (await telemetry.at(query, at)).values():
            return value
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
