"""Matcher trees (`xds.type.matcher.v3.Matcher`), as RBAC and quotas use them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.compile.envoy_api import TYPE_URL
from gateway.explain.exchange import Exchange
from gateway.explain.matching import string_matches
from gateway.explain.steps import NotModelled, only


_HEADER = "envoy.type.matcher.v3.HttpRequestHeaderMatchInput"


def action_of(matcher: Any, exchange: Exchange) -> Any | None:
    """
    Return the action, a `TypedExtensionConfig`, that a tree comes to; None: it comes to none.

    Raises:
        NotModelled: It has an input or a form that isn't known here.

    """
    for on_match in _candidates(matcher, exchange):
        found = _followed(on_match, exchange)
        if found is not None:
            return found
    if matcher.HasField("on_no_match"):
        return _followed(matcher.on_no_match, exchange)
    return None


def _followed(on_match: Any, exchange: Exchange) -> Any | None:
    only(on_match, "matcher", "action")
    if on_match.WhichOneof("on_match") == "matcher":
        return action_of(on_match.matcher, exchange)
    return on_match.action


def _candidates(matcher: Any, exchange: Exchange) -> Iterator[Any]:
    """Yield what matches, in the order in which it is tried."""
    kind = matcher.WhichOneof("matcher_type")
    if kind == "matcher_list":
        for one in matcher.matcher_list.matchers:
            if _holds(one.predicate, exchange):
                yield one.on_match
        return
    if kind != "matcher_tree":
        raise NotModelled("Matcher without a type")
    tree = matcher.matcher_tree
    value = _input(tree.input, exchange)
    form = tree.WhichOneof("tree_type")
    if value is None:
        return
    if form == "exact_match_map":
        if value in tree.exact_match_map.map:
            yield tree.exact_match_map.map[value]
    elif form == "prefix_match_map":
        found = [prefix for prefix in tree.prefix_match_map.map if value.startswith(prefix)]
        for prefix in sorted(found, key=len, reverse=True):
            yield tree.prefix_match_map.map[prefix]
    else:
        raise NotModelled(f"MatcherTree.{form}")


def _holds(predicate: Any, exchange: Exchange) -> bool:
    kind = predicate.WhichOneof("match_type")
    if kind == "or_matcher":
        return any(_holds(one, exchange) for one in predicate.or_matcher.predicate)
    if kind == "and_matcher":
        return all(_holds(one, exchange) for one in predicate.and_matcher.predicate)
    if kind == "not_matcher":
        return not _holds(predicate.not_matcher, exchange)
    if kind != "single_predicate":
        raise NotModelled(f"Predicate.{kind}")
    single = predicate.single_predicate
    if single.WhichOneof("matcher") != "value_match":
        raise NotModelled("Predicate.custom_match")
    value = _input(single.input, exchange)
    return value is not None and string_matches(single.value_match, value)


def _input(config: Any, exchange: Exchange) -> str | None:
    """Return the value that a tree looks at; None: the request has none."""
    kind = config.typed_config.type_url.removeprefix(TYPE_URL)
    if kind != _HEADER:
        raise NotModelled(kind)
    return exchange.headers.get(exchange.configuration.unpack(config.typed_config).header_name)
