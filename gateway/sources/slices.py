"""
Kubernetes EndpointSlices to endpoints. Pure; slices are the API's JSON, as parsed.

    ready                      healthy
    terminating, not ready     draining, if it still serves or nobody says
    otherwise                  unhealthy: there, and gets no calls

https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from gateway.model import Endpoint, Health, Locality


SERVICE_LABEL: Final = "kubernetes.io/service-name"
ADDRESS_TYPES: Final = frozenset({"IPv4", "IPv6"})
ZONE_LENGTH_MAX: Final = 60

_BEST: Final = {Health.HEALTHY: 0, Health.DRAINING: 1, Health.UNHEALTHY: 2}

Json = Mapping[str, Any]


def endpoints_of(slices: Iterable[Json], port_name: str) -> tuple[Endpoint, ...]:
    """
    Return where a service is, by all of its slices.

    One that stands in two slices, as it may while it moves between them, counts by its better
    state. Slices without the port are passed over.

    Args:
        port_name: Name of the port; "": the only one there is.

    """
    found: dict[tuple[str, int], Endpoint] = {}
    for one in slices:
        port = _port(one, port_name)
        if one.get("addressType") not in ADDRESS_TYPES or port is None:
            continue
        for item in one.get("endpoints") or ():
            endpoint = _endpoint(item, port)
            if endpoint is None:
                continue
            at = (endpoint.address, endpoint.port)
            known = found.get(at)
            if known is None or _BEST[endpoint.health] < _BEST[known.health]:
                found[at] = endpoint
    return tuple(found[at] for at in sorted(found))


def _port(one: Json, name: str) -> int | None:
    ports = one.get("ports") or ()
    fitting = [port for port in ports if port.get("protocol", "TCP") == "TCP" and port.get("port")]
    if name:
        fitting = [port for port in fitting if (port.get("name") or "") == name]
    elif len(fitting) > 1:
        return None  # Which one is meant nobody can tell.
    return int(fitting[0]["port"]) if fitting else None


def _endpoint(item: Json, port: int) -> Endpoint | None:
    addresses = item.get("addresses") or ()
    if not addresses:
        return None
    # Further addresses have no meaning; the API says so.
    return Endpoint(
        address=str(addresses[0]),
        port=port,
        health=_health(item.get("conditions") or {}),
        locality=Locality(zone=str(item.get("zone") or "")[:ZONE_LENGTH_MAX]),
    )


def _health(conditions: Json) -> Health:
    # What isn't said is to be read as ready; serving is then the same as ready.
    if conditions.get("ready") is not False and not conditions.get("terminating"):
        return Health.HEALTHY
    if conditions.get("terminating") and conditions.get("serving") is not False:
        return Health.DRAINING
    return Health.UNHEALTHY
