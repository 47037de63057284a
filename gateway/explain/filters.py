"""HTTP filters with little to them: CORS, gRPC-Web, headers, compression."""

from __future__ import annotations

from typing import Any

from gateway.explain.exchange import Exchange
from gateway.explain.formats import formatted
from gateway.explain.matching import string_matches
from gateway.explain.steps import Answer, NotModelled, Verdict, only


_GRPC_WEB = {
    "application/grpc-web",
    "application/grpc-web+proto",
    "application/grpc-web-text",
    "application/grpc-web-text+proto",
}


def cors(exchange: Exchange, name: str, config: Any) -> None:
    """Answer preflights, and let origins that are allowed read the answers."""
    only(config)
    headers = exchange.headers
    policies = exchange.all_per_route(name)
    table = exchange.found.table.name if exchange.found.table is not None else ""
    where = {"resource": ("RDS", table)}
    origin = headers.get("origin") or ""
    if not policies or not exchange.found.is_forwarded:
        exchange.step("filter", name, Verdict.IDLE, "No CORS policy holds here.", **where)
        return
    if not origin:
        says = "It comes from no web page: it has no origin."
        exchange.step("filter", name, Verdict.IDLE, says, **where)
        return
    for policy in policies:
        only(
            policy,
            *("allow_origin_string_match", "allow_methods", "allow_headers", "expose_headers"),
            *("max_age", "allow_credentials", "forward_not_matching_preflights"),
        )
    origins = next(
        (p.allow_origin_string_match for p in policies if p.allow_origin_string_match), ()
    )
    allowed = any(string_matches(one, origin) for one in origins)
    facts = (("origin", origin), ("allowed", str(allowed).lower()))
    asks = headers.get(":method") == "OPTIONS" and headers.get("access-control-request-method")
    forwards = next(
        (
            p.forward_not_matching_preflights.value
            for p in policies
            if p.HasField("forward_not_matching_preflights")
        ),
        True,
    )
    if asks and (allowed or not forwards):
        says = (
            f"A preflight of {origin}, which may call."
            if allowed
            else f"A preflight of {origin}, which may not call: it gets no CORS headers."
        )
        exchange.step("filter", name, Verdict.ANSWERED, says, facts=facts, **where)
        exchange.answer = Answer(http_status=200, details="cors_response")
        return
    says = f"{origin} {'may' if allowed else 'may not'} read the answer."
    exchange.step("filter", name, Verdict.PASSED, says, facts=facts, **where)


def grpc_web(exchange: Exchange, name: str, config: Any) -> None:
    """Make a gRPC call of a gRPC-Web one."""
    only(config)
    kind = exchange.headers.get("content-type") or ""
    if kind not in _GRPC_WEB:
        exchange.step("filter", name, Verdict.IDLE, "It is no gRPC-Web call.")
        return
    exchange.headers.remove("content-length")
    exchange.headers.set("content-type", "application/grpc")
    exchange.headers.set("te", "trailers")
    exchange.grpc_web = True
    exchange.step("filter", name, Verdict.CHANGED, f"{kind} becomes application/grpc.")


def header_mutation(exchange: Exchange, name: str, config: Any) -> None:
    """Change request headers; those of the answer don't matter here."""
    overrides = exchange.all_per_route(name)
    if not config.ListFields() and not overrides:
        exchange.step("filter", name, Verdict.IDLE, "No change is set here.")
        return
    for one in (config, *reversed(overrides)):
        only(one, "mutations", "most_specific_header_mutations_wins")
        only(
            one.mutations, "request_mutations", "response_mutations", "response_trailers_mutations"
        )
        mutate(exchange, one.mutations.request_mutations)
    exchange.step("filter", name, Verdict.CHANGED, "Headers are changed.")


def mutate(exchange: Exchange, mutations: Any) -> list[str]:
    """Apply `HeaderMutation`s; return the names of what they took away or wrote."""
    touched = []
    headers = exchange.headers
    for one in mutations:
        kind = one.WhichOneof("action")
        if kind == "remove":
            if headers.get(one.remove.lower()) is not None:
                touched.append(one.remove.lower())
            headers.remove(one.remove.lower())
        elif kind == "remove_on_match":
            matcher = one.remove_on_match.key_matcher
            for name in [n for n in headers.values if string_matches(matcher, n)]:
                touched.append(name)
                headers.remove(name)
        elif kind == "append":
            written = append(exchange, one.append)
            touched += [written] if written else []
        else:
            raise NotModelled(f"HeaderMutation.{kind}")
    return touched


_APPEND, _ADD_IF_ABSENT, _OVERWRITE, _OVERWRITE_IF_EXISTS = range(4)


def append(exchange: Exchange, option: Any) -> str:
    """Apply a `HeaderValueOption`; return the header's name, "" if it has no value here."""
    name, value = option.header.key.lower(), option.header.value
    headers = exchange.headers
    there = headers.get(name) is not None
    if "%" in value:
        value = formatted(exchange, value)
        if not value and not option.keep_empty_value:
            return ""
    action = option.append_action
    if action == _APPEND:
        headers.add(name, value)
    elif (
        action == _OVERWRITE
        or (action == _ADD_IF_ABSENT and not there)
        or (action == _OVERWRITE_IF_EXISTS and there)
    ):
        headers.set(name, value)
    return str(name)


def header_to_metadata(exchange: Exchange, name: str, config: Any) -> None:
    """Make metadata of headers; here, of what says by which issuer's token somebody calls."""
    only(config, "request_rules", "stat_prefix")
    known: dict[str, str] = {}
    for rule in config.request_rules:
        only(rule, "header", "on_header_present", "remove")
        pair = rule.on_header_present
        only(pair, "metadata_namespace", "key", "value", "type")
        value = exchange.headers.get(rule.header)
        if value is None:
            continue
        known[pair.key] = pair.value or value
        exchange.metadata.setdefault(pair.metadata_namespace, {})[pair.key] = known[pair.key]
        if rule.remove:
            exchange.headers.remove(rule.header)
    where = {"resource": exchange.resource}
    if not known:
        says = "It calls with no token of another issuer's."
        exchange.step("filter", name, Verdict.IDLE, says, **where)
        return
    issuer = known.get("issuer", "")
    says = f"It calls with a token of {issuer}."
    exchange.step("filter", name, Verdict.PASSED, says, object=issuer, **where)


def unaffected(exchange: Exchange, name: str, config: Any) -> None:
    """A filter that only works on bodies or answers."""
    del config
    exchange.step("filter", name, Verdict.PASSED, "It only works on bodies and answers.")
