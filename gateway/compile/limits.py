"""
Limits to the filters that keep them. All come by ECDS: no change of a limit touches a listener.

The filters stand behind jwt_authn and RBAC, so that nobody's calls are counted before it is known
whose they are: `limit_keys` writes what calls are counted by into headers, `limit_quota_*` have the
buckets that are divided among edges, `limit_local` those of the edge alone, `limit_local_shadow`
those of the edge that refuse nothing, and `limit_strict` asks.
"""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from gateway.compile import limit_places, limit_quotas
from gateway.compile.envoy_api import TYPE_URL, any_of, make
from gateway.compile.limit_keys import (
    KEYS_CONFIG,
    METHOD_HEADER,
    ROUTE_HEADER,
    header_of,
    mutations,
    nothing,
)
from gateway.compile.limit_places import FILTERS, KEYS, LOCAL, LOCAL_SHADOW, STRICT
from gateway.compile.sources import ads
from gateway.limits.reach import label
from gateway.model import Strength
from gateway.xds.resources import Resource, resource
from meshkit.errors import Overloaded
from meshkit.status import to_status


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.compile.inputs import Inputs
    from gateway.compile.options import EdgeOptions
    from gateway.limits.reach import Reach
    from gateway.model import Limit

    Part = tuple[str, Resource]

LOCAL_CONFIG: Final = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
STRICT_CONFIG: Final = "envoy.extensions.filters.http.ratelimit.v3.RateLimit"
LOCAL_PREFIX: Final = "limits"
"""Of the names of what Envoy counts of local limits."""

LOCAL_BUCKETS_MAX: Final = 20_000
"""Values of its keys that an edge remembers for each local limit, the newest; Envoy's default, 20,
would give a full bucket to whoever comes after 20 others."""

_ALWAYS = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
_ENTRY = "limit"
_LOCAL_MESSAGE = "local_rate_limited"  # What Envoy says; it can't be told otherwise.


def filters() -> list[dict[str, Any]]:
    """Return the listener's filters for limits, in their order."""
    local = (LOCAL_CONFIG,)
    kinds = {KEYS: (), LOCAL_SHADOW: local, LOCAL: local, STRICT: (STRICT_CONFIG,)}
    quota = (limit_quotas.QUOTA_CONFIG,)
    return [_filter(name, KEYS_CONFIG, *kinds.get(name, quota)) for name in FILTERS]


def compile_limits(inputs: Inputs, options: EdgeOptions) -> Iterator[Part]:
    """Yield the config of each filter of `filters`; one without a limit does nothing."""
    placed = limit_places.placed(inputs.catalog, options)
    keyed, strict = placed[KEYS], placed[STRICT]
    keys = {header_of(key): key for limit, _ in keyed for key in limit.keys}
    by_method = any(reach.methods for _, reach in keyed)
    by_host = any(reach.hosts for _, reach in keyed)
    written = mutations(keys.values(), method=by_method, host=by_host) if keyed else nothing()
    yield _extension(KEYS, written)
    for name in (LOCAL_SHADOW, LOCAL):
        yield _extension(name, _local(placed[name]) if placed[name] else nothing())
    for name in limit_quotas.FILTERS:
        slot = placed[name]
        config = limit_quotas.quota(slot, options, refusal_headers) if slot else nothing()
        yield _extension(name, config)
    yield _extension(STRICT, _strict(strict, options) if strict else nothing())


def refusal_headers(limit: Limit | None, wait: timedelta, message: str) -> list[dict[str, Any]]:
    """
    Return the headers of an answer that a limit gives, whatever the caller speaks.

    A gRPC client finds its details in `grpc-status-details-bin`, since Envoy's answer to it has
    headers only; others heed `retry-after`.

    Args:
        message: The answer's `grpc-message`: clients drop details that say otherwise.

    """
    told = {"limit": limit.name} if limit is not None else {}
    error = Overloaded("LIMIT_REACHED", message, retry_after=wait, **told)
    packed = base64.b64encode(to_status(error).SerializeToString(deterministic=True))
    seconds = -(-wait // timedelta(seconds=1))
    return [
        _header("retry-after", str(max(1, seconds))),
        _header("grpc-status-details-bin", packed.rstrip(b"=").decode()),
    ]


def _local(limits: Sequence[tuple[Limit, Reach]]) -> dict[str, Any]:
    """Return the filter with a bucket for each value of each limit's keys."""
    # A quota's guard is no limit to tell callers of: it is a little above the quota. Nor is one in
    # the shadow.
    told = any(limit.strength is Strength.LOCAL and not limit.shadow for limit, _ in limits)
    return any_of(
        LOCAL_CONFIG,
        stat_prefix=LOCAL_PREFIX,
        filter_enabled=_ALWAYS,
        filter_enforced=_ALWAYS,
        rate_limited_as_resource_exhausted=True,
        enable_x_ratelimit_headers="DRAFT_VERSION_03" if told else "OFF",
        max_dynamic_descriptors={"value": LOCAL_BUCKETS_MAX},
        # The filter has one answer for all limits, so it can't tell whose turn comes when.
        response_headers_to_add=refusal_headers(None, timedelta(seconds=1), _LOCAL_MESSAGE),
        rate_limits=[row for limit, reach in limits for row in rows(limit, reach)],
        descriptors=[
            {
                # An entry without a value stands for every value.
                "entries": [
                    {"key": _ENTRY, "value": limit.name},
                    *({"key": label(key)} for key in limit.keys),
                ],
                "token_bucket": {
                    "max_tokens": max(limit.most_at_once, limit.cost),
                    "tokens_per_fill": {"value": limit.requests},
                    "fill_interval": limit.interval,
                },
                "shadow_mode": limit.shadow,
            }
            for limit, _ in limits
        ],
    )


def _strict(limits: Sequence[tuple[Limit, Reach]], options: EdgeOptions) -> dict[str, Any]:
    return any_of(
        STRICT_CONFIG,
        domain=limit_quotas.DOMAIN,
        timeout=options.strict_timeout,
        failure_mode_deny=options.limits_fallback == "deny",
        rate_limited_as_resource_exhausted=True,
        rate_limit_service={
            "grpc_service": {"envoy_grpc": {"cluster_name": options.gateway_service}},
            "transport_api_version": "V3",
        },
        stat_prefix="limits",
        rate_limits=[row for limit, reach in limits for row in rows(limit, reach)],
    )


def rows(limit: Limit, reach: Reach) -> Iterator[dict[str, Any]]:
    """Yield the `RateLimit`s that make a limit's descriptor of a call; at most one fits a call."""
    keys = [
        {"request_headers": {"header_name": header_of(key), "descriptor_key": label(key)}}
        for key in limit.keys
    ]
    addend = {"hits_addend": {"number": {"value": limit.cost}}} if limit.cost != 1 else {}
    for first in _firsts(limit, reach):
        yield {"actions": [first, *keys], **addend}


def _firsts(limit: Limit, reach: Reach) -> Iterator[dict[str, Any]]:
    """Yield what says whether a call is in reach, and so whether there is a descriptor."""
    if reach.everything:
        yield {"generic_key": {"descriptor_key": _ENTRY, "descriptor_value": limit.name}}
    at_hosts = [_header_is(ROUTE_HEADER, prefix=f"{one}/") for one in reach.hosts]
    # A call that comes to one of the hosts is counted there.
    elsewhere = [{**one, "invert_match": True} for one in at_hosts]
    calls = [_header_is(":path", prefix=f"/{one}/") for one in reach.grpc_services]
    calls += [_header_is(METHOD_HEADER, exact=f"/{one}") for one in reach.methods]
    for headers in [*([one] for one in at_hosts), *([one, *elsewhere] for one in calls)]:
        yield {
            "header_value_match": {
                "descriptor_key": _ENTRY,
                "descriptor_value": limit.name,
                "headers": headers,
            }
        }


def _header_is(name: str, **match: str) -> dict[str, Any]:
    return {"name": name, "string_match": match}


def _filter(name: str, *messages: str) -> dict[str, Any]:
    urls = [TYPE_URL + message for message in messages]
    return {"name": name, "config_discovery": {"config_source": ads(), "type_urls": urls}}


def _header(name: str, value: str) -> dict[str, Any]:
    return {
        "header": {"key": name, "value": value},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }


def _extension(name: str, config: dict[str, Any]) -> Part:
    message = make("envoy.config.core.v3.TypedExtensionConfig", name=name, typed_config=config)
    return "ECDS", resource(name, message.SerializeToString(deterministic=True))
