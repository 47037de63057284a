"""
Policies to two RBAC filters: what a DENY matches is refused, and where an ALLOW is about a call,
one must match it.

Names of the rules are those of the policies, so that what is refused, or would be by one in the
shadow, says by which.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import re2

from gateway.compile.envoy_api import any_of, make
from gateway.compile.issuers import (
    CERTIFICATE_HEADER,
    CERTIFICATE_NAMES_HEADER,
    CLAIMS_METADATA,
    FOREIGN_METADATA,
    JWT_AUTHN,
    Grant,
    grants,
)
from gateway.compile.revoked import RBAC_CONFIG
from gateway.model import PolicyAction
from gateway.reference.places import paths_of
from gateway.xds.resources import Resource, resource
from meshkit.tokens import MESH_ISSUER


if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.model import CallScope, Catalog, ClaimMatch, Host, Policy, Principal

DENY: Final = "aerofusion.policies.deny"
ALLOW: Final = "aerofusion.policies.allow"
UNCONCERNED: Final = "none is about it"
"""Name of the rule for calls that no ALLOW is about."""

SEVERAL_IN_ONE: Final = "certificate with a comma in a DNS name"
"""Name of the rule against those that would look like several where names stand with commas."""

Rule = dict[str, Any]

_CERTIFICATE = "envoy.extensions.rbac.principals.mtls_authenticated.v3.Config"
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,9})?")


def deny(catalog: Catalog, *, certificates: bool = False) -> Resource:
    """Return the config of the filter of DENY policies; *certificates*: clients may show some."""
    policies = _of(catalog, PolicyAction.DENY)
    rules = _rules(policies, catalog)
    if certificates:
        rules |= _several_in_one()
    return _filter(DENY, "DENY", rules, _shadow(policies, catalog))


def allow(catalog: Catalog) -> Resource:
    """Return the config of the filter of ALLOW policies; in the shadow it has all of them."""
    policies = _of(catalog, PolicyAction.ALLOW)
    enforced = [one for one in policies if not one.shadow]
    rules = _rules(policies, catalog)
    if enforced:
        rules |= _unconcerned(enforced, catalog)
    shadow = _shadow(policies, catalog)
    if shadow:
        shadow |= _rules(policies, catalog) | _unconcerned(policies, catalog)
    return _filter(ALLOW, "ALLOW", rules, shadow)


def _of(catalog: Catalog, action: PolicyAction) -> list[Policy]:
    return [one for _, one in sorted(catalog.policies.items()) if one.action is action]


def _rules(policies: Iterable[Policy], catalog: Catalog) -> Rule:
    return {one.name: _policy(one, catalog) for one in policies if not one.shadow}


def _shadow(policies: Iterable[Policy], catalog: Catalog) -> Rule:
    return {one.name: _policy(one, catalog) for one in policies if one.shadow}


def _unconcerned(policies: Sequence[Policy], catalog: Catalog) -> Rule:
    scopes = [_permission(one.scope, catalog) for one in policies]
    if {"any": True} in scopes:
        return {}
    concerned = {"or_rules": {"rules": scopes}}
    return {UNCONCERNED: {"permissions": [{"not_rule": concerned}], "principals": [{"any": True}]}}


def _several_in_one() -> Rule:
    """
    Return the rule that refuses a certificate whose authority signed a DNS name with a comma.

    `CERTIFICATE_NAMES_HEADER` and access logs have all names in one text: who is `a,b` there
    would be `b`, too.
    """
    matcher = {"san_type": "DNS", "matcher": {"contains": ","}}
    principal = {
        "name": "envoy.rbac.principals.mtls_authenticated",
        "typed_config": any_of(_CERTIFICATE, san_matcher=matcher),
    }
    return {SEVERAL_IN_ONE: {"permissions": [{"any": True}], "principals": [{"custom": principal}]}}


def _filter(name: str, action: str, rules: Rule, shadow: Rule) -> Resource:
    prefix = name.rpartition(".")[2]
    config: dict[str, Any] = {}
    if rules:
        config["rules"] = {"action": action, "policies": rules}
        config["rules_stat_prefix"] = f"{prefix}_"
    if shadow:
        config["shadow_rules"] = {"action": action, "policies": shadow}
        config["shadow_rules_stat_prefix"] = f"{prefix}_"
        # Counters are made when they first count; those in the shadow are few.
        config["track_per_rule_stats"] = True
    packed = any_of(RBAC_CONFIG, **config)
    message = make("envoy.config.core.v3.TypedExtensionConfig", name=name, typed_config=packed)
    return resource(name, message.SerializeToString(deterministic=True))


def _policy(policy: Policy, catalog: Catalog) -> Rule:
    known = grants(catalog)
    return {
        "permissions": [_permission(policy.scope, catalog)],
        "principals": [_principal(one, known) for one in policy.principals],
    }


def _permission(scope: CallScope, catalog: Catalog) -> Rule:
    """Return which calls a scope is about."""
    found: list[Rule] = []
    for name in scope.services:
        service = catalog.services.get(name)
        found += [_path(f"/{one}/", "prefix") for one in (service.grpc_services if service else ())]
        found += [_path(path, how) for path, how in paths_of(service)]
    found += [_path(f"/{one}/", "prefix") for one in scope.grpc_services]
    found += [_path(f"/{one}", "exact") for one in scope.methods]
    for name in scope.hosts:
        host = catalog.hosts.get(name)
        if host is not None:
            found += [_server_name(domain, host, catalog) for domain in host.domains]
    if found:
        return found[0] if len(found) == 1 else {"or_rules": {"rules": found}}
    whole = not (scope.services or scope.grpc_services or scope.methods or scope.hosts)
    # What offers nothing is never called.
    return {"any": True} if whole else {"not_rule": {"any": True}}


def _path(path: str, how: str) -> Rule:
    return {"url_path": {"path": {how: path}}}


def _server_name(domain: str, host: Host, catalog: Catalog) -> Rule:
    """
    Return which calls come to a host by *domain*: by the name that its filter chain is found by.

    Not by `:authority`, which may have a port, and which anybody may send to another host, or to
    the mesh's services, for the sake of an ALLOW that is about this one.
    """
    if not domain.startswith("*."):
        return {"requested_server_name": {"exact": domain}}
    suffix = domain[1:]
    fits: Rule = {"requested_server_name": {"suffix": suffix}}
    # The longest name wins, so others may have some of what fits.
    others = [
        _text_of(name)
        for _, one in sorted(catalog.hosts.items())
        if one.name != host.name
        for name in one.domains
        if name != domain and name.endswith(suffix)
    ]
    if not others:
        return fits
    theirs = {"or_rules": {"rules": [{"requested_server_name": one} for one in others]}}
    return {"and_rules": {"rules": [fits, {"not_rule": theirs}]}}


def _text_of(domain: str) -> Rule:
    return {"suffix": domain[1:]} if domain.startswith("*.") else {"exact": domain}


def _principal(principal: Principal, known: Sequence[Grant]) -> Rule:
    """Return whom a principal means: of all that it says, one in each list must hold."""
    parts = [
        _one_of(principal.roles, lambda role: role_holders(role, known)),
        _one_of(principal.scopes, _scope_holders),
        _one_of(principal.tenants, lambda tenant: _tenant_members(tenant, known)),
        _one_of(principal.subjects, lambda subject: _subjects(subject, known)),
        _one_of(principal.issuers, lambda name: _issued_by(name, known)),
        *(_one_of(one.values, _claim_holders(one)) for one in principal.claims),
        _one_of(principal.remote_ranges, lambda block: [_range(block)]),
        _one_of(principal.certificates, _certificates),
    ]
    said = [one for one in parts if one is not None]
    return said[0] if len(said) == 1 else {"and_ids": {"ids": said}}


def _one_of(items: Iterable[str], holders: Any) -> Rule | None:
    wanted = list(items)
    if not wanted:
        return None
    found = [one for item in wanted for one in holders(item)]
    if not found:
        return {"not_id": {"any": True}}
    return found[0] if len(found) == 1 else {"or_ids": {"ids": found}}


def role_holders(role: str, known: Sequence[Grant]) -> list[Rule]:
    """
    Return who has *role*.

    The mesh's own tokens say it themselves. What another issuer's say counts only if it may give
    that role, and in the claim that it gives roles in.
    """
    found = [_claim(CLAIMS_METADATA, "roles", _listed({"exact": role}))]
    for grant in known:
        if role not in grant.roles:
            continue
        given = [_is_from(grant)]
        if grant.roles_claim:
            given.append(_claim(FOREIGN_METADATA, grant.roles_claim, _listed({"exact": role})))
        found.append(given[0] if len(given) == 1 else {"and_ids": {"ids": given}})
    return found


def _tenant_members(tenant: str, known: Sequence[Grant]) -> list[Rule]:
    found = [_claim(CLAIMS_METADATA, "tenant", _text({"exact": tenant}))]
    for grant in known:
        if grant.tenant_claim:
            member = _claim(FOREIGN_METADATA, grant.tenant_claim, _text({"exact": tenant}))
            found.append({"and_ids": {"ids": [_is_from(grant), member]}})
        elif grant.tenant == tenant:
            found.append(_is_from(grant))
    return found


def _subjects(subject: str, known: Sequence[Grant]) -> list[Rule]:
    found = [_claim(CLAIMS_METADATA, "sub", _text(_pattern(subject)))]
    for grant in known:
        own = _own_pattern(subject, grant.subject_prefix)
        if own is not None:
            named = _claim(FOREIGN_METADATA, grant.subject_claim, _text(own))
            found.append({"and_ids": {"ids": [_is_from(grant), named]}})
    return found


def _own_pattern(subject: str, prefix: str) -> Rule | None:
    """Return what the issuer's own name of a subject must be like; None: it can't be it."""
    if subject.startswith(prefix):
        own = subject.removeprefix(prefix)
        return _pattern(own) if own else None
    if subject.endswith("*") and prefix.startswith(subject[:-1]):
        return _SOMETHING
    return None


_SOMETHING: Final[Rule] = {"safe_regex": {"regex": "(?s).+"}}


def _pattern(text: str) -> Rule:
    if text == "*":
        return _SOMETHING
    return {"prefix": text[:-1]} if text.endswith("*") else {"exact": text}


def _issued_by(name: str, known: Sequence[Grant]) -> list[Rule]:
    if name == MESH_ISSUER:
        return [_claim(CLAIMS_METADATA, "iss", {"present_match": True})]
    return [_is_from(grant) for grant in known if grant.name == name]


def _scope_holders(scope: str) -> list[Rule]:
    word = re2.escape(scope)
    texts = _text({"safe_regex": {"regex": f"(?s)(.* )?{word}( .*)?"}})
    return [
        _claim(key, "scope", value)
        for key in (CLAIMS_METADATA, FOREIGN_METADATA)
        for value in (texts, _listed({"exact": scope}))
    ]


def _claim_holders(claim: ClaimMatch) -> Any:
    def holders(value: str) -> list[Rule]:
        forms = [_text({"exact": value})]
        if value in ("true", "false"):
            forms.append({"bool_match": value == "true"})
        if _NUMBER.fullmatch(value):
            forms.append({"double_match": {"exact": float(value)}})
        forms += [{"list_match": {"one_of": form}} for form in forms]
        return [
            _claim(key, claim.name, form)
            for key in (CLAIMS_METADATA, FOREIGN_METADATA)
            for form in forms
        ]

    return holders


def _certificates(name: str) -> list[Rule]:
    """
    Return who has a certificate with *name*.

    A certificate has one SPIFFE id or it has none: of several, with commas between, none fits.
    """
    if "://" in name:
        if name.endswith("*"):
            matcher: Rule = {"safe_regex": {"regex": f"{re2.escape(name[:-1])}[^,]*"}}
        else:
            matcher = {"exact": name}
        return [{"header": {"name": CERTIFICATE_HEADER, "string_match": matcher}}]
    word = re2.escape(name[:-1]) + "[^,]*" if name.endswith("*") else re2.escape(name)
    matcher = {"safe_regex": {"regex": f"(.*,)?{word}(,.*)?"}}
    return [{"header": {"name": CERTIFICATE_NAMES_HEADER, "string_match": matcher}}]


def _range(block: str) -> Rule:
    address, _, length = block.partition("/")
    whole = 128 if ":" in address else 32
    size = {"value": int(length or whole)}
    return {"remote_ip": {"address_prefix": address, "prefix_len": size}}


def _is_from(grant: Grant) -> Rule:
    return _claim(FOREIGN_METADATA, "iss", _text({"exact": grant.issuer}))


def _text(matcher: Rule) -> Rule:
    return {"string_match": matcher}


def _listed(matcher: Rule) -> Rule:
    return {"list_match": {"one_of": _text(matcher)}}


def _claim(key: str, name: str, value: Rule) -> Rule:
    """Return the condition that a claim of the token that was verified is like *value*."""
    return {
        "sourced_metadata": {
            "metadata_matcher": {
                "filter": JWT_AUTHN,
                "path": [{"key": key}, {"key": name}],
                "value": value,
            }
        }
    }
