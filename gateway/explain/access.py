"""The filter RBAC: who may call what."""

from __future__ import annotations

import ipaddress
from typing import Any

from gateway.explain.exchange import Exchange
from gateway.explain.matching import (
    header_matches,
    metadata_matches,
    string_matches,
)
from gateway.explain.steps import NotModelled, Verdict, kind_of, only
from gateway.explain.table import object_of
from gateway.explain.trees import action_of


_ALLOW, _DENY = 0, 1
_DNS = 2
"""Of `SubjectAltNameMatcher.SanType`."""


def rbac(exchange: Exchange, name: str, config: Any) -> None:
    """Refuse the request if the rules say so; shadow rules are only told of."""
    override = exchange.per_route(name)
    from_route = override is not None
    if override is not None:
        if not override.HasField("rbac"):
            exchange.step("filter", name, Verdict.IDLE, "It is off for this route.")
            return
        config = override.rbac
    only(
        config,
        *("rules", "shadow_rules", "rules_stat_prefix", "shadow_rules_stat_prefix"),
        *("track_per_rule_stats", "matcher", "shadow_matcher"),
    )
    table = exchange.found.table
    where = ("RDS", table.name) if from_route and table is not None else exchange.resource
    owner = object_of(exchange.found.route)
    given = {"resource": where, "object": owner if from_route else ""}
    if config.HasField("shadow_rules"):
        decision = decide(config.shadow_rules, exchange)
        _told(exchange, name, decision, given | _policy(decision[1]))
    if config.HasField("shadow_matcher"):
        _told(exchange, name, _by_tree(config.shadow_matcher, exchange), given)
    if config.HasField("matcher"):
        allowed, matched = _by_tree(config.matcher, exchange)
    elif config.HasField("rules"):
        allowed, matched = decide(config.rules, exchange)
    else:
        if not config.HasField("shadow_rules") and not config.HasField("shadow_matcher"):
            exchange.step("filter", name, Verdict.IDLE, "No rules hold here.", **given)
        return
    given |= _policy(matched)
    facts = (("policy", matched),)
    if allowed:
        says = f"Policy {matched} lets it through." if matched else "No policy forbids it."
        exchange.step("filter", name, Verdict.PASSED, says, facts=facts, **given)
        return
    says = f"Policy {matched} forbids it." if matched else "No policy lets it through"
    if not matched:
        asked = sorted(_exact(config.rules)) if config.HasField("rules") else []
        says += f"; they ask for {' or '.join(asked)}." if asked else "."
    if exchange.call.partial_claims:
        says += " The claims given may not be all there are."
    exchange.step("filter", name, Verdict.REFUSED, says, facts=facts, **given)
    exchange.refuse(
        403, f"rbac_access_denied_matched_policy[{(matched or 'none').replace(' ', '_')}]"
    )


def _policy(matched: str) -> dict[str, str]:
    """Return the catalog object that a rule was made of, if it was."""
    return {"object": matched} if matched.startswith("policies/") else {}


def _exact(message: Any) -> set[str]:
    """Return the texts that the matchers of claims in *message* ask for."""
    found: set[str] = set()
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.full_name == "envoy.type.matcher.v3.ValueMatcher":
            text = value.list_match.one_of.string_match.exact or value.string_match.exact
            found |= {text} if text else set()
        elif field.message_type.GetOptions().map_entry:
            for item in value.values():
                found |= _exact(item)
        else:
            for item in value if field.is_repeated else (value,):
                found |= _exact(item)
    return found


def _by_tree(matcher: Any, exchange: Exchange) -> tuple[bool, str]:
    """Return what a matcher tree says; one that comes to nothing lets nothing through."""
    found = action_of(matcher, exchange)
    if found is None:
        return False, ""
    action = exchange.configuration.unpack(found.typed_config)
    return action.action == _ALLOW, action.name


def _told(exchange: Exchange, name: str, decision: tuple[bool, str], given: dict[str, Any]) -> None:
    allowed, matched = decision
    which = f"policy {matched}" if matched else "no policy"
    if allowed:
        says = f"In the shadow {which} would let it through."
        exchange.step("filter", name, Verdict.PASSED, says, **given)
    else:
        says = f"In the shadow {which} would refuse it."
        facts = (("shadow_policy", matched),)
        exchange.step("filter", name, Verdict.SHADOW, says, facts=facts, **given)


def decide(rules: Any, exchange: Exchange) -> tuple[bool, str]:
    """Return whether *rules* let the request through, and the policy that matched it."""
    only(rules, "action", "policies")
    if rules.action not in (_ALLOW, _DENY):
        raise NotModelled("RBAC.action LOG")
    for name in sorted(rules.policies):
        policy = rules.policies[name]
        only(policy, "permissions", "principals")
        if any(permits(one, exchange) for one in policy.permissions) and any(
            principal_is(one, exchange) for one in policy.principals
        ):
            return rules.action == _ALLOW, name
    return rules.action == _DENY, ""


def permits(permission: Any, exchange: Exchange) -> bool:
    """Whether a `Permission` is about the request."""
    kind = kind_of(
        permission,
        "rule",
        *("and_rules", "or_rules", "not_rule", "any", "header", "url_path", "metadata"),
        *("sourced_metadata", "requested_server_name"),
    )
    if kind == "and_rules":
        return all(permits(one, exchange) for one in permission.and_rules.rules)
    if kind == "or_rules":
        return any(permits(one, exchange) for one in permission.or_rules.rules)
    if kind == "not_rule":
        return not permits(permission.not_rule, exchange)
    if kind == "requested_server_name":
        return string_matches(permission.requested_server_name, exchange.call.server_name.lower())
    return _leaf(permission, kind, exchange)


def principal_is(principal: Any, exchange: Exchange) -> bool:
    """Whether a `Principal` is the caller."""
    kind = kind_of(
        principal,
        "identifier",
        *("and_ids", "or_ids", "not_id", "any", "header", "url_path", "metadata"),
        *("sourced_metadata", "source_ip", "direct_remote_ip", "remote_ip", "custom"),
    )
    if kind == "and_ids":
        return all(principal_is(one, exchange) for one in principal.and_ids.ids)
    if kind == "or_ids":
        return any(principal_is(one, exchange) for one in principal.or_ids.ids)
    if kind == "not_id":
        return not principal_is(principal.not_id, exchange)
    if kind == "custom":
        return _has_name(exchange.configuration.unpack(principal.custom.typed_config), exchange)
    if kind in ("source_ip", "direct_remote_ip", "remote_ip"):
        return in_range(getattr(principal, kind), exchange.call.remote_address)
    return _leaf(principal, kind, exchange)


def _has_name(config: Any, exchange: Exchange) -> bool:
    """Whether one DNS name of the client's certificate is as wanted."""
    only(config, "san_matcher")
    wanted = config.san_matcher
    only(wanted, "san_type", "matcher")
    if wanted.san_type != _DNS or wanted.matcher.WhichOneof("match_pattern") == "exact":
        raise NotModelled("MtlsAuthenticated but by text in a DNS name")
    return any(string_matches(wanted.matcher, name) for name in exchange.call.client_names)


def _leaf(matcher: Any, kind: str, exchange: Exchange) -> bool:
    if kind == "any":
        return bool(matcher.any)
    if kind == "header":
        return header_matches(matcher.header, exchange.headers)
    if kind == "url_path":
        only(matcher.url_path, "path")
        return string_matches(matcher.url_path.path, exchange.headers.path.partition("?")[0])
    if kind == "metadata":
        return metadata_matches(matcher.metadata, exchange.metadata)
    if kind == "sourced_metadata":
        only(matcher.sourced_metadata, "metadata_matcher")  # Source 0: dynamic metadata.
        return metadata_matches(matcher.sourced_metadata.metadata_matcher, exchange.metadata)
    raise NotModelled(f"{matcher.DESCRIPTOR.name} without a kind")


def in_range(cidr: Any, address: str) -> bool:
    """Whether *address* is in a `CidrRange`."""
    length = cidr.prefix_len.value
    network = ipaddress.ip_network(f"{cidr.address_prefix}/{length}", strict=False)
    found = ipaddress.ip_address(address)
    return found.version == network.version and found in network
