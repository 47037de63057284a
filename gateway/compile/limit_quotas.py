"""Quotas to filters: which filter has which, and what an edge does while nobody assigns."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from gateway.compile.envoy_api import any_of, make
from gateway.compile.limit_keys import METHOD_HEADER, ROUTE_HEADER, header_of
from gateway.limits.envoy_quirks import ALLOW, DENY, EXPIRED_FOR, REPORTING_INTERVAL, token_bucket
from gateway.limits.reach import EDITION_KEY, LIMIT_KEY, edition, label
from gateway.model import Strength


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.compile.options import EdgeOptions
    from gateway.limits.reach import Reach
    from gateway.model import Limit

    Found = tuple[Limit, Reach]
    Refusal = Callable[[Limit, timedelta, str], list[dict[str, Any]]]
    """Makes the headers of a refusal; see `limits.refusal_headers`."""

FILTERS: Final = ("limit_quota_1", "limit_quota_2", "limit_quota_3", "limit_quota_4")
"""A filter counts a call in one bucket: so many quotas can be about one call. Each filter costs
every call a little, so there are few; what finds none is kept as a local share."""

QUOTA_CONFIG: Final = "envoy.extensions.filters.http.rate_limit_quota.v3.RateLimitQuotaFilterConfig"
DOMAIN: Final = "aerofusion"

_GUARD_BURST = 10
_RESOURCE_EXHAUSTED = 8
_SETTINGS = "envoy.extensions.filters.http.rate_limit_quota.v3.RateLimitQuotaBucketSettings"
_HEADER_INPUT = "envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
_ALWAYS = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}


def divided(quotas: Sequence[Found], options: EdgeOptions) -> tuple[list[list[Found]], list[Found]]:
    """
    Return the quotas of each filter, and local limits that stand beside them.

    In one filter no two are about the same call. What finds no place is kept as an edge's local
    share. With the fallback `share` no edge lets through much more than a whole quota, even before
    it was assigned a part.
    """
    slots: list[list[Found]] = [[] for _ in FILTERS]
    beside = []
    for limit, reach in quotas:
        slot = next((slot for slot in slots if _fits(reach, slot)), None)
        if slot is not None:
            slot.append((limit, reach))
        if slot is None:
            beside.append((_share(limit, options.edge_count), reach))
        elif options.limits_fallback == "share" and not limit.shadow:
            beside.append((_guard(limit), reach))
    return slots, beside


def _fits(reach: Reach, slot: Sequence[Found]) -> bool:
    return not any(reach.meets(taken) for _, taken in slot)


def _share(limit: Limit, edges: int) -> Limit:
    """Return the local limit of an edge's part of a quota, were it divided evenly."""
    return dataclasses.replace(
        limit,
        strength=Strength.LOCAL,
        interval=limit.interval * edges,
        burst=max(1, limit.most_at_once // edges),
    )


def _guard(limit: Limit) -> Limit:
    """
    Return a local limit a little above a whole quota, so that the quota itself answers.

    By its strength it stays a quota: callers aren't told of it.
    """
    return dataclasses.replace(
        limit,
        requests=-(-limit.requests * 11 // 10),
        burst=-(-limit.most_at_once * 11 // 10) + _GUARD_BURST * limit.cost,
    )


def quota(
    slot: Sequence[Found],
    options: EdgeOptions,
    refusal: Refusal,
) -> dict[str, Any]:
    """Return a filter's config: one tree finds a call's quota by host, method, service."""
    settings = [(_settings(limit, options, refusal), reach) for limit, reach in slot]
    methods = {f"/{one}": made for made, reach in settings for one in reach.methods}
    services = {f"/{one}/": made for made, reach in settings for one in reach.grpc_services}
    rest = next((made for made, reach in settings if reach.everything), None)
    tree: Any = {"action": rest} if rest is not None else None
    if services:
        tree = {"matcher": _tree(":path", "prefix_match_map", services, tree)}
    if methods:
        tree = {"matcher": _tree(METHOD_HEADER, "exact_match_map", methods, tree)}
    hosts = {f"{one}/": made for made, reach in settings for one in reach.hosts}
    if hosts:
        tree = {"matcher": _tree(ROUTE_HEADER, "prefix_match_map", hosts, tree)}
    # The root of a tree needs a match; a tree with nothing but a default has none.
    matcher = tree["matcher"] if "matcher" in tree else _everything(tree)
    return any_of(
        QUOTA_CONFIG,
        rlqs_server={"envoy_grpc": {"cluster_name": options.gateway_service}},
        domain=DOMAIN,
        bucket_matchers=matcher,
        filter_enabled=_ALWAYS,
        filter_enforced=_ALWAYS,
    )


def _tree(header: str, kind: str, actions: dict[str, Any], otherwise: Any) -> dict[str, Any]:
    matches = {
        value: make("xds.type.matcher.v3.Matcher.OnMatch", action=action)
        for value, action in sorted(actions.items())
    }
    made: dict[str, Any] = {"matcher_tree": {"input": _input(header), kind: {"map": matches}}}
    return made | ({"on_no_match": otherwise} if otherwise is not None else {})


def _everything(on_match: dict[str, Any]) -> dict[str, Any]:
    return _tree(":path", "prefix_match_map", {"/": on_match["action"]}, None)


def _input(header: str) -> dict[str, Any]:
    return {"name": header, "typed_config": any_of(_HEADER_INPUT, header_name=header)}


def _settings(
    limit: Limit,
    options: EdgeOptions,
    refusal: Refusal,
) -> dict[str, Any]:
    wait = max(limit.interval * limit.cost / limit.requests, timedelta(milliseconds=1))
    message = f"{limit.name} is reached; wait before the next call."
    ids = {LIMIT_KEY: _text(limit.name), EDITION_KEY: _text(edition(limit))}
    for key in limit.keys:
        ids[label(key)] = make(
            f"{_SETTINGS}.BucketIdBuilder.ValueBuilder", custom_value=_input(header_of(key))
        )
    blanket = ALLOW if limit.shadow else _blanket(options)
    behaviour: dict[str, Any] = {
        "no_assignment_behavior": {"fallback_rate_limit": blanket},
        "expired_assignment_behavior": {
            "expired_assignment_behavior_timeout": EXPIRED_FOR,
            "fallback_rate_limit": ALLOW if limit.shadow else _expired(limit, options),
        },
    }
    if not limit.shadow:
        behaviour["deny_response_settings"] = {
            "http_status": {"code": "TooManyRequests"},
            "grpc_status": {"code": _RESOURCE_EXHAUSTED, "message": message},
            "response_headers_to_add": refusal(limit, wait, message),
        }
    return {
        "name": limit.name,
        "typed_config": any_of(
            _SETTINGS,
            bucket_id_builder={"bucket_id_builder": ids},
            reporting_interval=REPORTING_INTERVAL,
            **behaviour,
        ),
    }


def _expired(limit: Limit, options: EdgeOptions) -> dict[str, Any]:
    """Return what holds when an assignment has ended and none has followed."""
    if options.limits_fallback != "share":
        return _blanket(options)
    edges = options.edge_count
    rate = limit.requests / limit.cost / limit.interval.total_seconds() / edges
    return {"token_bucket": token_bucket(rate, limit.most_at_once / limit.cost / edges)}


def _blanket(options: EdgeOptions) -> dict[str, Any]:
    """Return what holds before there was an assignment: a token bucket there crashes Envoy."""
    return DENY if options.limits_fallback == "deny" else ALLOW


def _text(value: str) -> Any:
    return make(f"{_SETTINGS}.BucketIdBuilder.ValueBuilder", string_value=value)
