"""Which route configuration a request belongs to, by the first element of its path."""

from __future__ import annotations

from typing import Any

from gateway.compile.envoy_api import make
from gateway.compile.sources import ads
from gateway.xds.resources import Resource, resource


def scope(element: str) -> Resource:
    """
    Return the scope of requests whose path begins with `/<element>/`.

    A scope has the name of its key and of its route configuration. So it never changes: Envoy
    has no routes for a moment when a scope points elsewhere.
    """
    message = make(
        "envoy.config.route.v3.ScopedRouteConfiguration",
        name=element,
        route_configuration_name=element,
        key={"fragments": [{"string_key": element}]},
    )
    return resource(element, message.SerializeToString(deterministic=True))


def scoped_routes() -> dict[str, Any]:
    """Return how the connection manager finds a scope: `/a.b.C/M` splits into "", a.b.C and M."""
    return {
        "name": "edge",
        "scope_key_builder": {
            "fragments": [
                {
                    "header_value_extractor": {
                        "name": ":path",
                        "element_separator": "/",
                        "index": 1,
                    }
                }
            ]
        },
        "rds_config_source": ads(),
        "scoped_rds": {"scoped_rds_config_source": ads()},
    }
