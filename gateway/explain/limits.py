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
    given: dict[str, Any] = {"resource": exchange.resource}
    if config.rate_limits:
        _local_limits(exchange, name, config)
        return
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
    """Return the one bucket for all; what routes count by descriptors isn't emitted."""
    del exchange
    if config.descriptors:
        raise NotModelled("LocalRateLimit.descriptors of routes")
    return config.token_bucket if config.HasField("token_bucket") else None


def _local_limits(exchange: Exchange, name: str, config: Any) -> None:
    """Tell of every bucket that counts the request: all must have something left."""
    where = {"resource": exchange.resource}
    made = descriptors(exchange, config.rate_limits)
    found = [(one, _descriptor_of(config, one)) for one in made]
    counted = [(one, bucket) for one, bucket in found if bucket is not None]
    if not counted:
        exchange.step("filter", name, Verdict.IDLE, "No local limit is about it.", **where)
        return
    for entries, bucket in counted:
        told = ", ".join(f"{key}={value}" for key, value in entries)
        shadow = bucket.shadow_mode
        exchange.step(
            "filter",
            name,
            Verdict.SHADOW if shadow else Verdict.DEPENDS,
            f"It goes on while this edge's bucket [{told}] isn't empty; else "
            f"{'it is counted' if shadow else '429'}.",
            facts=(*entries, ("burst", str(bucket.token_bucket.max_tokens))),
            object=_limit_of(entries),
            **where,
        )


def _descriptor_of(config: Any, made: Descriptor) -> Any | None:
    """Return the configured descriptor that counts *made*; an entry without value takes any."""
    for one in config.descriptors:
        if len(one.entries) == len(made) and all(
            entry.key == key and entry.value in ("", value)
            for entry, (key, value) in zip(one.entries, made, strict=True)
        ):
            return one
    return None


def _limit_of(entries: Descriptor) -> str:
    """Return the limit that a descriptor or a bucket is of."""
    named = dict(entries).get("limit", "")
    return named if named.startswith("limits/") else ""


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
    shadow = not settings.HasField("deny_response_settings")
    says = (
        f"It goes on while this edge's share of the quota [{bucket}] lasts; else "
        f"{'it is counted' if shadow else '429'}."
    )
    verdict = Verdict.SHADOW if shadow else Verdict.DEPENDS
    exchange.step(
        "filter", name, verdict, says, facts=tuple(facts), object=_limit_of(tuple(facts)), **where
    )


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
    where = {"resource": exchange.resource}
    if not asked:
        exchange.step("filter", name, Verdict.IDLE, "No strict limit is about it.", **where)
        return
    for one in asked:
        told = ", ".join(f"{key}={value}" for key, value in one)
        says = f"It goes on unless the gateway says that the limit [{told}] is reached; else 429."
        exchange.step(
            "filter", name, Verdict.DEPENDS, says, facts=one, object=_limit_of(one), **where
        )


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
