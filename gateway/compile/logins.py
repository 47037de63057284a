"""
Sign-in of browsers to Envoy's `oauth2` filter, on the host's routes.

The filter stands in every host's chain, switched off, so that a sign-in comes and goes with the
routes. It keeps the session in cookies that it seals and signs, and hands the ID token on
in a header that no client can send; `jwt_authn` verifies it there like any other token, and takes
it away. The filter between them takes away the session's cookies: no service gets them.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from gateway.compile import switched
from gateway.compile.envoy_api import any_of, duration, make
from gateway.compile.hardening import NOTHING
from gateway.compile.issuers import SIGN_IN_HEADER
from gateway.compile.sources import secret
from gateway.model import client_secret_of, cookie_secret_of
from gateway.xds.resources import Resource
from meshkit.tokens import KEY_HEADER, TOKEN_HEADER


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.compile.inputs import Inputs
    from gateway.model import Catalog, Host, OidcLogin

OAUTH2: Final = "envoy.filters.http.oauth2"
OAUTH2_CONFIG: Final = "envoy.extensions.filters.http.oauth2.v3.OAuth2"
_PER_ROUTE: Final = "envoy.extensions.filters.http.oauth2.v3.OAuth2PerRoute"
_SECRET: Final = "envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105  a type's name

COOKIE_PREFIX: Final = "__Host-aerofusion-"
"""Browsers give such cookies to the very host that set them, over TLS, and to no path's own."""

COOKIES: Final = {
    "oauth_hmac": "proof",
    "oauth_expires": "expires",
    "id_token": "id",
    "refresh_token": "refresh",
    "bearer_token": "access",
    "oauth_nonce": "nonce",
    "code_verifier": "verifier",
}
"""Envoy's names of the cookies to the ends of ours."""

SESSION_FILTER: Final = "aerofusion.session"
_LUA: Final = "envoy.extensions.filters.http.lua.v3.Lua"
_KEEP: Final = "keep"
_ID_COOKIE: Final = f"{COOKIE_PREFIX}{COOKIES['id_token']}="
_KEEP_SESSIONS: Final = f"""
function envoy_on_request(request)
  local headers = request:headers()
  local sent = headers:get("cookie")
  if sent == nil then return end
  local others, token = {{}}, nil
  for one in string.gmatch(sent, "[^;]+") do
    local cookie = string.match(one, "^%s*(.-)%s*$")
    if string.sub(cookie, 1, {len(_ID_COOKIE)}) == "{_ID_COOKIE}" then
      token = string.sub(cookie, {len(_ID_COOKIE) + 1})
    elseif cookie ~= "" and string.sub(cookie, 1, {len(COOKIE_PREFIX)}) ~= "{COOKIE_PREFIX}" then
      others[#others + 1] = cookie
    end
  end
  if #others > 0 then
    headers:replace("cookie", table.concat(others, "; "))
  else
    headers:remove("cookie")
  end
  if token == nil or headers:get("{SIGN_IN_HEADER}") ~= nil then return end
  for _, name in pairs(request:filterContext():get("tokens")) do
    if headers:get(name) ~= nil then return end
  end
  headers:add("{SIGN_IN_HEADER}", token)
end
"""
"""
Takes the session's cookies away: `oauth2` itself leaves the ID token in the request, and everything
where it is passed by, as requests with a token of their own are. Envoy before 1.39 doesn't hand the
ID token on (`forward_id_token` is unknown to it), so that is done here, of sessions it found good.
"""

_BACK: Final = "back"
_COME_BACK: Final = """
function envoy_on_response(answer)
  local headers = answer:headers()
  local place = headers:get("location")
  if place == nil then return end
  local name, rest = string.match(place, "^https://([%w%.%-]+)(.*)$")
  rest = string.gsub(rest or "", "^:%d+", "")
  if name ~= nil and (rest == "" or string.find(rest, "^[/?#]")) then
    name = string.lower(name)
    for _, domain in pairs(answer:filterContext():get("domains")) do
      local wild = string.sub(domain, 1, 2) == "*."
      if name == domain or (wild and string.sub(name, 1 - #domain) == string.sub(domain, 2)) then
        return
      end
    end
  end
  headers:replace(":status", "401")
  headers:remove("location")
  headers:remove("set-cookie")
end
"""
"""
Refuses to send a browser that comes back from signing in to anywhere but the host's own domains.

Envoy from 1.39 on does it before, by `allowed_redirect_domains`.
"""

FAILURE_HEADERS: Final = ("x-envoy-oauth-status", "x-envoy-oauth-failure-reason")
"""What the filter tells services of a session that is none."""

_TOKEN_TIMEOUT = timedelta(seconds=5)
_SIGN_IN_TIMEOUT = timedelta(minutes=5)
"""Each attempt has cookies of its own, and of some 50 a request's headers would be too large."""

_LIFETIME = timedelta(hours=1)
"""Of a session whose provider doesn't say how long its tokens live."""

_ANYTHING = {"name": ":method", "present_match": True}
_SCRIPTS = (
    {"name": ":method", "string_match": {"safe_regex": {"regex": "POST|PUT|PATCH|DELETE|OPTIONS"}}},
    {"name": "content-type", "string_match": {"prefix": "application/grpc"}},
    {"name": "x-requested-with", "present_match": True},
    {
        "name": "sec-fetch-mode",
        "string_match": {"safe_regex": {"regex": "cors|no-cors|same-origin|websocket"}},
    },
    {
        "name": "accept",
        "string_match": {"contains": "text/html"},
        "invert_match": True,
        "treat_missing_header_as_empty": True,
    },
)
"""Requests that no person sees the answer of: they are told 401 and not sent to a page."""


def filters() -> list[dict[str, Any]]:
    """Return the filters of every host's chain; without a config of the route they aren't there."""
    scripts = {_KEEP: _KEEP_SESSIONS, _BACK: _COME_BACK}
    code = {name: {"inline_string": text} for name, text in scripts.items()}
    return [
        switched.off({"name": OAUTH2, "typed_config": any_of(OAUTH2_CONFIG)}),
        switched.off({"name": SESSION_FILTER, "typed_config": any_of(_LUA, source_codes=code)}),
    ]


def configs(host: Host, catalog: Catalog) -> dict[str, Any]:
    """Return the configs of the filters for all of a host's routes but the public ones."""
    if host.login is None:
        return {}
    keep = _script(_KEEP, tokens=[TOKEN_HEADER, KEY_HEADER, *token_headers(catalog)])
    return {OAUTH2: _per_route(host, host.login, catalog), SESSION_FILTER: keep}


def public_configs(host: Host, catalog: Catalog) -> dict[str, Any]:
    """Return it for a public route: who has signed in is known there, and nobody is sent to."""
    if host.login is None:
        return {}
    return {OAUTH2: _per_route(host, host.login, catalog, allow_failed_matcher=[_ANYTHING])}


def own_paths(host: Host) -> Iterator[dict[str, Any]]:
    """Yield routes for the paths that the filter answers, so that they aren't public by a rule."""
    if host.login is None:
        return
    back = {SESSION_FILTER: _script(_BACK, domains=host.domains)}
    for path, configs in ((host.login.redirect_path, back), (host.login.signout_path, {})):
        yield {
            "name": f"{host.name}/login",
            "match": {"path": path},
            "direct_response": {"status": 404},
            "typed_per_filter_config": configs,
        }


def rest(host: Host) -> Iterator[dict[str, Any]]:
    """Yield a route for what no rule matches: without one the filter isn't there, and all get 401."""
    if host.login is not None:
        yield {
            "name": f"{host.name}/nothing",
            "match": {"prefix": "/"},
            "direct_response": {"status": 404, "body": {"inline_string": NOTHING}},
        }


def login_secrets(host: Host, inputs: Inputs) -> Iterator[Resource]:
    """Yield the secrets of a host's sign-in that can be opened."""
    if host.login is None:
        return
    for name, sealed in (
        (client_secret_of(host.name), host.login.client_secret),
        (cookie_secret_of(host.name), host.login.cookie_secret),
    ):
        opened = inputs.unseal(sealed, name)
        if opened is not None:
            content = {"secret": {"inline_string": opened}}
            value = make(_SECRET, name=name, generic_secret=content)
            # As with certificates: of what is sealed, never of a secret.
            version = hashlib.sha256(f"{name}\n{sealed}".encode()).hexdigest()[:16]
            yield Resource(name, version, value.SerializeToString(deterministic=True))


def _per_route(host: Host, login: OidcLogin, catalog: Catalog, **more: Any) -> Any:
    config = {
        "token_endpoint": {
            "uri": login.token_endpoint,
            "cluster": login.token_service,
            "timeout": duration(_TOKEN_TIMEOUT),
        },
        "authorization_endpoint": login.authorization_endpoint,
        "end_session_endpoint": login.end_session_endpoint,
        "credentials": {
            "client_id": login.client_id,
            "token_secret": secret(client_secret_of(host.name)),
            "hmac_secret": secret(cookie_secret_of(host.name)),
            "cookie_names": {name: COOKIE_PREFIX + end for name, end in COOKIES.items()},
        },
        "redirect_uri": f"https://%REQ(:authority)%{login.redirect_path}",
        "redirect_path_matcher": _path(login.redirect_path),
        "signout_path": _path(login.signout_path),
        # A state that was forged leads nowhere else.
        "allowed_redirect_domains": host.domains,
        "forward_id_token": {"header": SIGN_IN_HEADER},
        "disable_access_token_set_cookie": True,  # Nobody asks for it.
        "pass_through_matcher": list(_own_tokens(catalog)),
        "deny_redirect_matcher": _SCRIPTS,
        "auth_scopes": login.scopes or ("openid",),
        "auth_type": "BASIC_AUTH",
        "use_refresh_token": {"value": True},
        "default_expires_in": duration(_LIFETIME),
        "csrf_token_expires_in": duration(_SIGN_IN_TIMEOUT),
        "code_verifier_token_expires_in": duration(_SIGN_IN_TIMEOUT),
        # Strict ones would be missing when the provider sends the browser back.
        "cookie_configs": {f"{name}_cookie_config": {"same_site": "LAX"} for name in COOKIES},
        **more,
    }
    return make("google.protobuf.Any", **any_of(_PER_ROUTE, config=config))


def _script(name: str, **lists: Sequence[str]) -> Any:
    """Return the config by which a route has a script, and what that is to know."""
    return make("google.protobuf.Any", **any_of(f"{_LUA}PerRoute", name=name, filter_context=lists))


def _path(path: str) -> dict[str, Any]:
    return {"path": {"exact": path}}


def _own_tokens(catalog: Catalog) -> Iterator[dict[str, Any]]:
    """Yield what matches requests with a token of their own."""
    yield {
        "name": TOKEN_HEADER,
        "string_match": {"prefix": "Bearer ", "ignore_case": True},
    }
    for name in (KEY_HEADER, *token_headers(catalog)):
        yield {"name": name, "present_match": True}


def token_headers(catalog: Catalog) -> list[str]:
    """Return the headers in which issuers besides the mesh have their tokens, in order."""
    own = {one.header for one in catalog.issuers.values() if one.header != TOKEN_HEADER}
    return sorted(own - {""})
