"""Hosts to route configurations: one each, so that a change of a host's rules touches only its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from gateway.compile import changes, logins, routes
from gateway.compile.envoy_api import any_of, duration, make
from gateway.compile.issuers import JWT_AUTHN, OPTIONAL_TOKEN, WRITTEN, grants
from gateway.xds.resources import Resource, resource


if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.compile.issuers import Grant
    from gateway.model import (
        Access,
        Catalog,
        Forward,
        Host,
        HttpMatch,
        HttpRule,
        QueryMatch,
        Redirect,
        Service,
    )

UPGRADES: Final = ("websocket",)

_CONFIGURATION = "envoy.config.route.v3.RouteConfiguration"
_PER_ROUTE_JWT = "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig"
_RETRY_ON = "connect-failure,refused-stream,reset,gateway-error"
_REDIRECTS = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}
_CORS_HEADERS = "authorization, content-type, traceparent, tracestate"
_CORS_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_CORS_MAX_AGE_S = "7200"


def host_routes(host: Host, catalog: Catalog) -> Resource:
    """Return what the edge does with a host's requests; its name is the host's."""
    configs = logins.configs(host, catalog)
    if host.cors_origins:
        configs[routes.CORS] = _cors(host.cors_origins)
    message = make(
        _CONFIGURATION,
        name=host.name,
        # The port stays: a redirect must lead back to it.
        ignore_port_in_host_matching=True,
        virtual_hosts=[
            {
                "name": host.name,
                "domains": host.domains,
                "routes": [
                    *_refusals(host),
                    *logins.own_paths(host),
                    *(_route(host, rule, catalog) for rule in host.rules),
                    *logins.rest(host),
                ],
                "typed_per_filter_config": configs,
                "request_headers_to_remove": logins.FAILURE_HEADERS if host.login else (),
            },
            _misdirected(),
        ],
    )
    return resource(host.name, message.SerializeToString(deterministic=True))


def destinations(host: Host) -> set[str]:
    """Return the names of the services that a host sends to, whose kind its routes depend on."""
    return {
        name for rule in host.rules if rule.forward is not None for name in _names(rule.forward)
    }


def _misdirected() -> dict[str, Any]:
    """
    Return the answer to requests for other names on a connection for this host's.

    A browser may reuse a connection whose certificate is good for several hosts; told 421 it
    opens another (RFC 9110, 15.5.20). Nothing is passed on here, so nobody is asked for a token.
    """
    return {
        "name": "misdirected",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 421}}],
        "typed_per_filter_config": {JWT_AUTHN: _packed(_PER_ROUTE_JWT, disabled=True)},
    }


def _refusals(host: Host) -> list[dict[str, Any]]:
    """Return what comes before a host's rules: two `host` headers would fit a wildcard."""
    if not any(domain.startswith("*") for domain in host.domains):
        return []
    several = {"name": ":authority", "string_match": {"contains": ","}}
    return [{"match": {"prefix": "/", "headers": [several]}, "direct_response": {"status": 400}}]


def _route(host: Host, rule: HttpRule, catalog: Catalog) -> dict[str, Any]:
    access = rule.access or host.access
    made: dict[str, Any] = {
        "name": f"{host.name}/rules/{rule.id}",
        "match": _match(rule.match),
        **changes.of_headers("request", rule.request_headers),
        **changes.of_headers("response", rule.response_headers),
    }
    configs = access_configs(access, grants(catalog))
    if access.public:
        configs |= logins.public_configs(host, catalog)
    if configs:
        made["typed_per_filter_config"] = configs
    if rule.forward is not None:
        made["route"] = _forward(rule.forward, rule.match)
        if any(is_external(catalog.services.get(n)) for n in _names(rule.forward)):
            _keep_tokens(made)
    elif rule.redirect is not None:
        made["redirect"] = _redirect(rule.redirect, rule.match)
    elif rule.direct_response is not None:
        _answer(made, rule)
    return made


def access_configs(access: Access, known: tuple[Grant, ...] = ()) -> dict[str, Any]:
    """
    Return the configs of the filters that decide who may call, for a route.

    A route without any is under jwt_authn's last rule: a token is needed. That stands on the
    route itself, so it can't be looser or stricter than what is routed.
    """
    if access.public:
        optional = OPTIONAL_TOKEN
        return {JWT_AUTHN: _packed(_PER_ROUTE_JWT, requirement_name=optional)}
    return {routes.RBAC: routes.role_config(access, known)} if access.roles else {}


def is_external(service: Service | None) -> bool:
    """Return whether a service stands outside the mesh."""
    return service is not None and service.external_tls is not None


def _names(forward: Forward) -> list[str]:
    names = [one.service for one in forward.destinations]
    return names + [one.service for one in forward.mirrors]


def _keep_tokens(made: dict[str, Any]) -> None:
    """Take the mesh's own tokens, and what it writes of callers, out of what leaves the mesh."""
    gone = list(made.get("request_headers_to_remove", ()))
    gone += [name for name in ("authorization", *WRITTEN) if name not in gone]
    made["request_headers_to_remove"] = gone


def _match(match: HttpMatch) -> dict[str, Any]:
    headers = [routes.header_match(one) for one in match.headers]
    if match.methods:
        said = (
            {"exact": match.methods[0]}
            if len(match.methods) == 1
            else {"safe_regex": {"regex": "|".join(match.methods)}}
        )
        headers.append({"name": ":method", "string_match": said})
    return {
        **_path(match),
        "headers": headers,
        "query_parameters": [_query(one) for one in match.query],
    }


def _path(match: HttpMatch) -> dict[str, Any]:
    if match.exact_path is not None:
        return {"path": match.exact_path}
    if match.path_regex is not None:
        return {"safe_regex": {"regex": match.path_regex}}
    prefix = match.path_prefix or "/"
    return {"prefix": prefix} if prefix.endswith("/") else {"path_separated_prefix": prefix}


def _query(match: QueryMatch) -> dict[str, Any]:
    if match.present is not None:
        return {"name": match.name, "present_match": match.present}
    if match.exact is not None:
        return {"name": match.name, "string_match": {"exact": match.exact}}
    return {"name": match.name, "string_match": {"prefix": match.prefix}}


def _forward(forward: Forward, match: HttpMatch) -> dict[str, Any]:
    made: dict[str, Any] = {
        **routes.destination_of(forward.destinations),
        **routes.retry_of(forward.retry, _RETRY_ON),
        "timeout": duration(forward.timeout),
    }
    rewrite = forward.rewrite
    if rewrite is not None and rewrite.prefix is not None:
        made |= prefix_rewrite(match, rewrite.prefix)
    elif rewrite is not None and rewrite.full is not None:
        made["regex_rewrite"] = _regex_rewrite("^.*$", _literal(rewrite.full))
    elif rewrite is not None and match.path_regex is not None:
        whole = f"^(?:{match.path_regex})$"
        made["regex_rewrite"] = _regex_rewrite(whole, rewrite.substitution or "/")
    if forward.host:
        made["host_rewrite_literal"] = forward.host
    if forward.mirrors:
        made["request_mirror_policies"] = [routes.mirror_of(one) for one in forward.mirrors]
    if forward.upgrades:
        made["upgrade_configs"] = [{"upgrade_type": one} for one in UPGRADES]
    return made


def prefix_rewrite(match: HttpMatch, new: str) -> Mapping[str, Any]:
    """
    Return how the matched prefix becomes *new*, whichever of them ends with a slash.

    Envoy puts texts in place of texts: `/a` to `/` would make `//b` of `/a/b`.
    """
    old = match.path_prefix or "/"
    if old.endswith("/"):
        return {"prefix_rewrite": new if new.endswith("/") else f"{new}/"}
    if new.endswith("/"):
        return {"regex_rewrite": _regex_rewrite(f"^{re.escape(old)}/*", _literal(new))}
    return {"prefix_rewrite": new}


def _regex_rewrite(regex: str, substitution: str) -> dict[str, Any]:
    return {"pattern": {"regex": regex}, "substitution": substitution}


def _literal(text: str) -> str:
    return text.replace("\\", r"\\")


def _redirect(redirect: Redirect, match: HttpMatch) -> dict[str, Any]:
    made: dict[str, Any] = {
        "response_code": _REDIRECTS[redirect.status],
        "strip_query": redirect.strip_query,
    }
    if redirect.host:
        made["host_redirect"] = redirect.host
    if redirect.port:
        made["port_redirect"] = redirect.port
    if redirect.full_path is not None:
        made["path_redirect"] = redirect.full_path
    elif redirect.prefix is not None:
        made |= prefix_rewrite(match, redirect.prefix)
    return made


def _answer(made: dict[str, Any], rule: HttpRule) -> None:
    answer = rule.direct_response
    assert answer is not None, "only asked for with one"
    made["direct_response"] = {"status": answer.status}
    if answer.body:
        made["direct_response"]["body"] = {"inline_string": answer.body}
        kind = {"header": {"key": "content-type", "value": answer.content_type}}
        kind["append_action"] = "OVERWRITE_IF_EXISTS_OR_ADD"  # type: ignore[assignment]
        made["response_headers_to_add"] = [kind, *made.get("response_headers_to_add", ())]


def _cors(origins: tuple[str, ...]) -> Any:
    return _packed(
        "envoy.extensions.filters.http.cors.v3.CorsPolicy",
        allow_origin_string_match=[
            {"safe_regex": {"regex": ".*"}} if origin == "*" else {"exact": origin}
            for origin in origins
        ],
        allow_methods=_CORS_METHODS,
        allow_headers=_CORS_HEADERS,
        max_age=_CORS_MAX_AGE_S,
        forward_not_matching_preflights={"value": False},
    )


def _packed(name: str, **fields: Any) -> Any:
    return make("google.protobuf.Any", **any_of(name, **fields))
