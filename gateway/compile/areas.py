"""Areas of JSON paths: where calls go before they are known as the gRPC calls that they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.compile import switched
from gateway.compile.compression import COMPRESSORS
from gateway.compile.extensions import TRANSCODER
from gateway.compile.limit_places import FILTERS
from gateway.compile.routes import CORS, LOCAL_RATELIMIT, configuration, cors_config


if TYPE_CHECKING:
    from gateway.compile.options import EdgeOptions
    from gateway.xds.resources import Resource

SWITCHED: Final = (*COMPRESSORS, TRANSCODER, LOCAL_RATELIMIT, *FILTERS)
"""All filters that are off for gRPC calls unless their service needs them."""

_NOWHERE = "nowhere"


def area_routes(area: str, options: EdgeOptions) -> Resource:
    """
    Return what the edge does with JSON paths that begin with `/<area>/`.

    The transcoder turns them into gRPC paths, and their scope is chosen anew. Before that only
    CORS looks at the route, and what the transcoder left alone has nowhere to go.
    """
    # A direct response would be no route to the CORS filter: send it to a cluster there is not.
    unknown = {
        "match": {"prefix": "/"},
        "route": {"cluster": _NOWHERE, "cluster_not_found_response_code": "NOT_FOUND"},
    }
    # Whose calls they are comes out later, so whatever any of them may need is on.
    configs = {CORS: cors_config(options), **switched.on(SWITCHED)}
    return configuration(area, [unknown], configs)
