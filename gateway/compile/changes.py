"""What is done to the headers of a call and of its answer."""

from __future__ import annotations

from email.utils import format_datetime
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.model import HeaderChanges, Lifecycle, Route, Service


def of_route(service: Service, grpc_service: str, route: Route | None) -> dict[str, Any]:
    """Return what a route and the API's lifecycle do, as fields of Envoy's Route."""
    made: dict[str, Any] = {}
    if route is not None:
        made |= of_headers("request", route.request_headers)
        made |= of_headers("response", route.response_headers)
    ending = next((one for one in service.lifecycles if one.grpc_service == grpc_service), None)
    if ending is not None:
        told = [_set(name, value) for name, value in _lifecycle(ending)]
        made["response_headers_to_add"] = [*made.get("response_headers_to_add", ()), *told]
    return made


def of_headers(side: str, changes: HeaderChanges) -> dict[str, Any]:
    """Return changes of the `request` or the `response`, as fields of Envoy's Route."""
    made: dict[str, Any] = {}
    if changes.set:
        made[f"{side}_headers_to_add"] = [_set(one.name, one.value) for one in changes.set]
    if changes.remove:
        made[f"{side}_headers_to_remove"] = changes.remove
    return made


def _set(name: str, value: str) -> dict[str, Any]:
    return {
        "header": {"key": name, "value": value},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }


def lifecycle_headers() -> Mapping[str, str]:
    """Return the headers that may tell of an API's end, and what each means."""
    return {
        "deprecation": "Since when it is deprecated (RFC 9745).",
        "sunset": "When it may be gone (RFC 8594).",
        "link": "Where to read about it, and what comes after it.",
    }


def _lifecycle(ending: Lifecycle) -> list[tuple[str, str]]:
    """Return the headers that tell of an API's end (RFC 9745, RFC 8594)."""
    told = []
    if ending.deprecate_time is not None:
        told.append(("deprecation", f"@{int(ending.deprecate_time.timestamp())}"))
    if ending.sunset_time is not None:
        told.append(("sunset", format_datetime(ending.sunset_time, usegmt=True)))
    links = []
    if ending.link:
        links.append(f'<{ending.link}>; rel="deprecation"; type="text/html"')
    if ending.successor:
        links.append(f'</{ending.successor}>; rel="successor-version"')
    if links:
        told.append(("link", ", ".join(links)))
    return told
