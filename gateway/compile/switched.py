"""
Filters that few calls need: off in the listener, on where a virtual host says so.

Envoy makes a call's filters when its headers have come, by the route that these lead to; what is
off isn't made, and costs nearly nothing. A JSON call is routed anew behind the transcoder, but has
the filters of its area's route. Who may call never hangs on this: filters that ask for tokens,
roles or policies are always on.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from gateway.compile.envoy_api import any_of, make


if TYPE_CHECKING:
    from collections.abc import Iterable

FILTER_CONFIG: Final = "envoy.config.route.v3.FilterConfig"
NOTHING: Final = "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"
"""A config without any field, of a filter that has none by route: with `is_optional` Envoy takes it
for a filter of any kind, switches that on, and leaves its own config as it is."""


def off(one: dict[str, Any]) -> dict[str, Any]:
    """Return a listener's filter, switched off."""
    return {**one, "disabled": True}


def on(names: Iterable[str]) -> dict[str, Any]:
    """Return what switches filters on, as `typed_per_filter_config`."""
    return dict.fromkeys(names, _on())


@functools.cache
def _on() -> Any:
    nothing = any_of(NOTHING)
    return make("google.protobuf.Any", **any_of(FILTER_CONFIG, is_optional=True, config=nothing))
