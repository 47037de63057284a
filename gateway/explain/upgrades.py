"""Upgrades of HTTP/1.1 connections, such as to WebSocket: let through only where a route says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.explain.steps import Verdict


if TYPE_CHECKING:
    from gateway.explain.exchange import Exchange


def upgraded(exchange: Exchange) -> bool:
    """Return whether a request goes on: it asks for no upgrade, or for one that is allowed."""
    headers = exchange.headers
    wanted = (headers.get("upgrade") or "").lower()
    if not wanted or "upgrade" not in (headers.get("connection") or "").lower():
        return True
    route = exchange.found.route
    if route is None:
        return True  # Envoy looks at it only where there is a route.
    configs = [*(route.route.upgrade_configs if exchange.found.is_forwarded else ())]
    for config in (*configs, *exchange.manager.upgrade_configs):
        if config.upgrade_type.lower() == wanted:
            if not config.HasField("enabled") or config.enabled.value:
                exchange.step(
                    "connection_manager", "upgrade", Verdict.PASSED, f"It may become {wanted}."
                )
                return True
            break
    says = f"No rule lets it become {wanted} here."
    exchange.step("connection_manager", "upgrade", Verdict.REFUSED, says)
    exchange.refuse(403, "upgrade_failed", body=False)
    return False
