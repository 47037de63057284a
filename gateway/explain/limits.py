"""The filters that limit: local buckets, quotas (RLQS), and limits that are asked for (RLS)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from gateway.explain.exchange import Exchange
from gateway.explain.matching import MISSING, header_matches
from gateway.explain.steps import NotModelled, Verdict, only
from gateway.explain.table import object_of
from gateway.explain.trees import action_of


Descriptor = tuple[tuple[str, str], ...]
"""Keys and values that a request is counted by, together."""


def local_ratelimit(exchange: Exchange, name: str, config: Any) -> None:
    """Tell of the bucket; how full it is only the edge knows."""
    override = exchange.per_route(name)
    config = config if override is None else override
    only(
        config,
        *("stat_prefix", "token_bucket", "filter_enabled", "filter_enforced", "status"),
        *("rate_limited_as_resource_exhausted", "enable_x_ratelimit_headers", "stage"),
        *("response_headers_to_add", "local_rate_limit_per_downstream_connection"),
        *("descriptors", "rate_limits", "always_consume_default_token_bucket"),
        "max_dynamic_descriptors",
    )
    given: dict[str, Any] = {"resource": ("LDS", exchange.listener.name)}
    if override is not None:
        owner = object_of(exchange.found.route).partition("/routes/")[0]
        given = {"resource": ("RDS", exchange.found.table.name), "object": owner}
    bucket = _bucket(exchange, config)
    if bucket is None or not config.filter_enabled.default_value.numerator:
        exchange.step("filter", name, Verdict.IDLE, "No bucket is set here.", **given)
        return
    seconds = bucket.fill_interval.seconds + bucket.fill_interval.nanos / 1e9
    facts = (
        ("burst", str(bucket.max_tokens)),
        ("per_second", f"{bucket.tokens_per_fill.value / seconds:g}"),
    )
    enforced = config.filter_enforced.default_value.numerator > 0
    says = (
        f"It goes on while the edge's bucket {config.stat_prefix} isn't empty; else "
        f"{'429' if enforced else 'it is counted'}."
    )
    verdict = Verdict.DEPENDS if enforced else Verdict.SHADOW
    exchange.step("filter", name, verdict, says, facts=facts, **given)


def _bucket(exchange: Exchange, config: Any) -> Any | None:
    """Return the bucket of the first descriptor that fits, else the one for all."""
    rows = config.rate_limits
    made = set(descriptors(exchange, rows)) if config.descriptors else set()
    for one in config.descriptors:
        if tuple((entry.key, entry.value) for entry in one.entries) in made:
            return one.token_bucket
        wild = any(not entry.value for entry in one.entries)
        keys = tuple(entry.key for entry in one.entries)
        if wild and any(tuple(key for key, _ in found) == keys for found in made):
            return one.token_bucket
    return config.token_bucket if config.HasField("token_bucket") else None


def quota(exchange: Exchange, name: str, config: Any) -> None:
    """Tell which bucket of a quota the request is counted in."""
    only(config, "rlqs_server", "domain", "bucket_matchers", "filter_enabled", "filter_enforced")
    where = {"resource": exchange.resource}
    if exchange.per_route(name) is not None:
        raise NotModelled("RateLimitQuotaOverride")
    action = action_of(config.bucket_matchers, exchange)
    if action is None:
        exchange.step("filter", name, Verdict.IDLE, "No quota is about it.", **where)
        return
    settings = exchange.configuration.unpack(action.typed_config)
    facts = []
    for key, value in sorted(settings.bucket_id_builder.bucket_id_builder.items()):
        if value.WhichOneof("value_specifier") == "string_value":
            facts.append((key, value.string_value))
        else:
            source = exchange.configuration.unpack(value.custom_value.typed_config)
            facts.append((key, exchange.headers.get(source.header_name) or ""))
    bucket = ", ".join(f"{key}={value}" for key, value in facts)
    says = f"It goes on while this edge's share of the quota [{bucket}] lasts; else 429."
    exchange.step("filter", name, Verdict.DEPENDS, says, facts=tuple(facts), **where)


def asked_limit(exchange: Exchange, name: str, config: Any) -> None:
    """Tell what the rate limit service is asked."""
    only(
        config,
        *("domain", "stage", "timeout", "failure_mode_deny", "rate_limit_service"),
        *("rate_limited_as_resource_exhausted", "enable_x_ratelimit_headers", "stat_prefix"),
        *("disable_x_envoy_ratelimited_header", "rate_limits", "request_type"),
        "filter_enabled",
    )
    found = exchange.found
    rows = list(config.rate_limits)
    if found.is_forwarded:
        rows += found.route.route.rate_limits
        if not found.route.route.rate_limits or found.route.route.include_vh_rate_limits.value:
            rows += found.host.rate_limits
    asked = descriptors(exchange, rows)
    if not asked:
        exchange.step("filter", name, Verdict.IDLE, "No strict limit is about it.")
        return
    told = tuple((key, value) for one in asked for key, value in one)
    says = f"It goes on unless the rate limit service says no to {len(asked)} descriptors."
    exchange.step("filter", name, Verdict.DEPENDS, says, facts=told)


def descriptors(exchange: Exchange, rows: Iterable[Any]) -> Sequence[Descriptor]:
    """Return the descriptors that `RateLimit` rows make of the request."""
    found = []
    for row in rows:
        parts = [_entry(exchange, action) for action in row.actions]
        entries = tuple(entry for part in parts for entry in part or ())
        if entries and None not in parts:
            found.append(entries)
    return found


def _entry(exchange: Exchange, action: Any) -> list[tuple[str, str]] | None:
    """Return what an action adds; None: the whole descriptor isn't made."""
    kind = action.WhichOneof("action_specifier")
    if kind == "generic_key":
        named = action.generic_key
        return [(named.descriptor_key or "generic_key", named.descriptor_value)]
    if kind == "remote_address":
        return [("remote_address", exchange.call.remote_address)]
    if kind == "request_headers":
        wanted = action.request_headers
        value = exchange.headers.get(wanted.header_name.lower())
        if value is None:
            return [] if wanted.skip_if_absent else None
        return [(wanted.descriptor_key, value)]
    if kind == "metadata":
        return _of_metadata(exchange, action.metadata)
    if kind == "header_value_match":
        wanted = action.header_value_match
        matched = all(header_matches(one, exchange.headers) for one in wanted.headers)
        expected = wanted.expect_match.value if wanted.HasField("expect_match") else True
        if matched != expected:
            return None
        return [(wanted.descriptor_key or "header_match", wanted.descriptor_value)]
    raise NotModelled(f"RateLimit.Action.{kind}")


def _of_metadata(exchange: Exchange, wanted: Any) -> list[tuple[str, str]] | None:
    if wanted.source != 0:
        raise NotModelled("RateLimit.Action.MetaData.source")
    value: Any = exchange.metadata.get(wanted.metadata_key.key, MISSING)
    for segment in wanted.metadata_key.path:
        value = value.get(segment.key, MISSING) if isinstance(value, dict) else MISSING
    if isinstance(value, str) and value:
        return [(wanted.descriptor_key, value)]
    if wanted.default_value:
        return [(wanted.descriptor_key, wanted.default_value)]
    return [] if wanted.skip_if_absent else None
