"""The filters that sign browsers in, and keep what they know of the session to the edge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gateway.explain.matching import header_matches, string_matches
from gateway.explain.steps import Answer, NotModelled, Verdict, only


if TYPE_CHECKING:
    from gateway.explain.exchange import Exchange

_KNOWN = (
    *("token_endpoint", "authorization_endpoint", "end_session_endpoint", "credentials"),
    *("redirect_uri", "redirect_path_matcher", "signout_path", "allowed_redirect_domains"),
    *("forward_id_token", "disable_access_token_set_cookie", "pass_through_matcher"),
    *("deny_redirect_matcher", "allow_failed_matcher", "auth_scopes", "auth_type"),
    *("use_refresh_token", "default_expires_in", "cookie_configs", "csrf_token_expires_in"),
    "code_verifier_token_expires_in",
)
_DETAILS = "oauth.missing_credentials"
_DENIED = "Unauthorized,_and_redirecting_to_OAuth_server_is_not_allowed"


def oauth2(exchange: Exchange, name: str, config: Any) -> None:
    """
    Let pass who has signed in, and send others to where they can.

    Sessions are sealed: whether one is good, and whose it is, only the edge can tell.
    """
    only(config)
    override = exchange.per_route(name)
    if override is None:
        exchange.step("filter", name, Verdict.IDLE, "Browsers don't sign in here.")
        return
    config = override.config
    only(config, *_KNOWN)
    table = exchange.found.table
    where = {"resource": ("RDS", table.name if table is not None else "")}
    if _any(config.pass_through_matcher, exchange):
        says = "It brings a token of its own: no session is looked for."
        exchange.step("filter", name, Verdict.PASSED, says, **where)
        return
    exchange.headers.remove("authorization")
    if exchange.call.claims is not None:
        says = "The claims given are taken to be those of a session."
        exchange.step("filter", name, Verdict.PASSED, says, **where)
        return
    path = exchange.headers.path.partition("?")[0]
    if _is(config.signout_path, path):
        says = "Its session ends, and it is sent away."
        exchange.step("filter", name, Verdict.ANSWERED, says, **where)
        exchange.answer = Answer(http_status=302, details="oauth.sign_out")
        return
    if _has_session(config, exchange):
        raise NotModelled("what a session's cookies say (its claims can be given instead)")
    if _is(config.redirect_path_matcher, path):
        says = "It comes back from signing in, but not with the cookies that it was given for that."
        exchange.step("filter", name, Verdict.REFUSED, says, **where)
        exchange.refuse(401, "")
        return
    if _any(config.allow_failed_matcher, exchange):
        says = "It has no session, and needs none here."
        exchange.step("filter", name, Verdict.PASSED, says, **where)
    elif _any(config.deny_redirect_matcher, exchange):
        says = "It has no session, and isn't a page that a person opens: nobody is sent to sign in."
        exchange.step("filter", name, Verdict.REFUSED, says, **where)
        exchange.refuse(401, f"{_DENIED}:_{exchange.headers.path}")
    else:
        place = urlsplit(config.authorization_endpoint).hostname or ""
        says = f"It has no session: it is sent to {place} to sign in."
        exchange.step("filter", name, Verdict.ANSWERED, says, **where)
        exchange.answer = Answer(http_status=302, details=_DETAILS)


def session(exchange: Exchange, name: str, config: Any) -> None:
    """Take the session's cookies away, by our own scripts; those of answers only refuse odd ones."""
    only(config, "source_codes")
    override = exchange.per_route(name)
    if override is None:
        exchange.step("filter", name, Verdict.IDLE, "There are no sessions here.")
        return
    only(override, "name", "filter_context")
    exchange.step("filter", name, Verdict.PASSED, "No service gets the cookies of a session.")


def _any(matchers: Any, exchange: Exchange) -> bool:
    return any(header_matches(one, exchange.headers) for one in matchers)


def _is(matcher: Any, path: str) -> bool:
    return string_matches(matcher.path, path)


def _has_session(config: Any, exchange: Exchange) -> bool:
    names = config.credentials.cookie_names
    sent = {
        part.partition("=")[0].strip()
        for header in exchange.headers.values.get("cookie", ())
        for part in header.split(";")
    }
    return bool(sent & {names.oauth_hmac, names.refresh_token})
