"""The filter jwt_authn: which token is asked for, and whether what was sent is good."""

from __future__ import annotations

import base64
import json
from typing import Any

from gateway.explain import tokens
from gateway.explain.exchange import Exchange
from gateway.explain.matching import route_matches
from gateway.explain.steps import NotModelled, Verdict, kind_of, only
from gateway.explain.tokens import Token


_NOT_REQUIRED = "No rule asks for a token here."
_REQUIREMENTS = (
    *("provider_name", "provider_and_audiences", "requires_any", "requires_all"),
    *("allow_missing", "allow_missing_or_failed"),
)


def jwt_authn(exchange: Exchange, name: str, config: Any) -> None:
    """Verify the request's token as the first rule that matches asks, or refuse the request."""
    only(config, "providers", "rules", "requirement_map", "stat_prefix", "strip_failure_response")
    requirement, rule = _requirement(exchange, name, config)
    where = ("ECDS", name)
    if requirement is None:
        exchange.step("filter", name, Verdict.IDLE, _NOT_REQUIRED, resource=where)
        return
    status = _Verifier(exchange, name, config).verify(requirement)
    facts = (("rule", rule), ("requires", words(requirement)), ("status", status))
    if status == tokens.OK:
        known = exchange.metadata.get(name, {})
        claims = next(iter(known.values()), None)
        says = (
            "No token was sent, and none is needed."
            if claims is None
            else f"The token of {claims.get('sub', 'nobody')} is good."
        )
        exchange.step("filter", name, Verdict.PASSED, says, resource=where, facts=facts)
        return
    forbidden = status == tokens.AUDIENCE
    exchange.step("filter", name, Verdict.REFUSED, f"{status}.", resource=where, facts=facts)
    details = f"jwt_authn_access_denied{{{status.replace(' ', '_')}}}"
    exchange.refuse(403 if forbidden else 401, details)


def words(requirement: Any) -> str:
    """Return what a requirement asks for, such as `any of mesh, nothing`."""
    kind = kind_of(requirement, "requires_type", *_REQUIREMENTS)
    if kind == "provider_name":
        return str(requirement.provider_name)
    if kind == "provider_and_audiences":
        return str(requirement.provider_and_audiences.provider_name)
    if kind in ("requires_any", "requires_all"):
        parts = ", ".join(words(one) for one in getattr(requirement, kind).requirements)
        return f"{kind.removeprefix('requires_')} of {parts}"
    return {"allow_missing": "nothing", "allow_missing_or_failed": "anything"}.get(kind, "nothing")


def _requirement(exchange: Exchange, name: str, config: Any) -> tuple[Any | None, str]:
    """Return what is required, and by which rule."""
    override = exchange.per_route(name)
    if override is not None:
        if override.WhichOneof("requirement_specifier") == "disabled":
            return None, ""
        wanted = override.requirement_name
        return config.requirement_map[wanted], f"{wanted}, named by the route"
    for number, rule in enumerate(config.rules, start=1):
        only(rule, "match", "requires", "requirement_name")
        if not route_matches(rule.match, exchange.headers):
            continue
        which = f"{number} of {len(config.rules)}"
        kind = rule.WhichOneof("requirement_type")
        if kind is None:
            return None, which
        if kind == "requirement_name":
            return config.requirement_map[rule.requirement_name], which
        return rule.requires, which
    return None, ""


class _Verifier:
    """Verifies one request; what is found goes into its metadata and headers."""

    def __init__(self, exchange: Exchange, name: str, config: Any) -> None:
        self._exchange = exchange
        self._name = name
        self._config = config

    def verify(self, requirement: Any) -> str:
        """Return OK or the reason, in Envoy's words."""
        kind = kind_of(requirement, "requires_type", *_REQUIREMENTS)
        if kind == "provider_name":
            return self._provider(requirement.provider_name, None)
        if kind == "provider_and_audiences":
            both = requirement.provider_and_audiences
            return self._provider(both.provider_name, list(both.audiences))
        if kind == "requires_any":
            return self._any(requirement.requires_any.requirements)
        if kind == "requires_all":
            for one in requirement.requires_all.requirements:
                status = self.verify(one)
                if status != tokens.OK:
                    return status
            return tokens.OK
        if kind == "":
            return tokens.OK
        return self._optional(list(self._config.providers), kind)

    def _any(self, requirements: Any) -> str:
        """One must be content; what allows that there is none is asked last."""
        reasons: list[str] = []
        optional = ""
        used: list[str] = []
        for one in requirements:
            kind = kind_of(one, "requires_type", *_REQUIREMENTS)
            if kind in ("allow_missing", "allow_missing_or_failed"):
                optional = max(optional, kind, key=len)
                continue
            if kind == "provider_name":
                used.append(one.provider_name)
            elif kind == "provider_and_audiences":
                used.append(one.provider_and_audiences.provider_name)
            reasons.append(self.verify(one))
            if reasons[-1] == tokens.OK:
                return tokens.OK
        if optional:
            return self._optional(used, optional)
        # Versions of Envoy differ in which of several reasons they tell, and so in the status.
        particular = [one for one in reasons if one not in (tokens.MISSED, tokens.UNKNOWN_ISSUER)]
        told = particular[-1] if particular else min(reasons, key=_is_missed)
        if tokens.AUDIENCE in particular and len(set(particular)) > 1:
            raise NotModelled("which of several issuers' refusals is told")
        return told

    def _optional(self, providers: list[str], kind: str) -> str:
        """A token may be missing; one that is there must be good, unless it may fail, too."""
        found: dict[str, list[tuple[Token | str, Any]]] = {}
        for name in providers:
            provider = self._config.providers[name]
            for place, token in self._placed(provider):
                found.setdefault(place, []).append((token, provider))
        statuses = set()
        # Where a token stands, only those who look there may have issued it.
        for place in sorted(found):
            status = tokens.UNKNOWN_ISSUER
            for token, provider in found[place]:
                if isinstance(token, str):
                    status = token
                    break
                if provider.issuer == token.issuer or not provider.issuer:
                    status = self._check(provider, token, None)
                    break
            statuses.add(status)
        if len(statuses) > 1 and kind != "allow_missing_or_failed":
            raise NotModelled("which of several tokens' refusals is told")
        status = next(iter(statuses), tokens.OK)
        return tokens.OK if kind == "allow_missing_or_failed" else status

    def _provider(self, name: str, audiences: list[str] | None) -> str:
        provider = self._config.providers[name]
        only(
            provider,
            *("issuer", "audiences", "local_jwks", "forward", "from_headers", "claim_to_headers"),
            *("forward_payload_header", "payload_in_metadata", "clock_skew_seconds"),
            *("require_expiration", "jwt_cache_config", "pad_forward_payload_header"),
            *("header_in_metadata", "failed_status_in_metadata", "clear_route_cache"),
            *("from_cookies", "max_lifetime"),
        )
        found = self._extract(provider)
        if not found:
            return tokens.MISSED
        for token in found:
            status = token if isinstance(token, str) else self._check(provider, token, audiences)
            if status != tokens.OK:
                return status
        return tokens.OK

    def _extract(self, provider: Any) -> list[Token | str]:
        """Return the tokens that stand where the provider looks, or why they can't be read."""
        return [token for _, token in self._placed(provider)]

    def _placed(self, provider: Any) -> list[tuple[str, Token | str]]:
        """Return them with the places where they stand."""
        call = self._exchange.call
        if call.claims is not None:
            issuer = call.claims.get("iss", "")
            if issuer and provider.issuer and issuer != provider.issuer:
                return []
            made = {"iss": provider.issuer, "aud": list(provider.audiences), "exp": 2**40}
            return [("", Token(header={}, payload={**made, **call.claims}, asserted=True))]
        found: list[tuple[str, Token | str]] = []
        for place in provider.from_headers:
            value = self._exchange.headers.get(place.name.lower())
            if value is None:
                continue
            start = value.find(place.value_prefix)
            if place.value_prefix and start < 0:
                continue
            if place.value_prefix:
                value = tokens.cut(value, start + len(place.value_prefix))
            found.append((f"{place.name.lower()}:{place.value_prefix}", tokens.read(value)))
        for name in provider.from_cookies:
            value = cookie(self._exchange.headers.get("cookie") or "", name)
            if value:
                found.append((f"~{name}", tokens.read(value)))
        if not provider.from_headers and not provider.from_cookies:
            raise NotModelled("JwtProvider without from_headers")
        return found

    def _check(self, provider: Any, token: Token, audiences: list[str] | None) -> str:
        if provider.issuer and token.issuer != provider.issuer:
            return tokens.UNKNOWN_ISSUER
        skew = provider.clock_skew_seconds or 60
        status = tokens.times_fit(token, self._exchange.call.now, skew_s=skew)
        if status != tokens.OK:
            return status
        wanted = audiences if audiences is not None else list(provider.audiences)
        if wanted and not set(map(_bare, wanted)) & set(map(_bare, token.audiences)):
            return tokens.AUDIENCE
        if provider.require_expiration and not token.payload.get("exp"):
            return tokens.FAILS
        if _lives_too_long(provider, token, self._exchange.call.now):
            return tokens.FAILS
        status = tokens.verified(token, provider.local_jwks.inline_string)
        if status == tokens.OK:
            self._good(provider, token)
        return status

    def _good(self, provider: Any, token: Token) -> None:
        headers = self._exchange.headers
        if provider.forward_payload_header:
            text = json.dumps(token.payload).encode()
            raw = (
                base64.urlsafe_b64encode(text).rstrip(b"=")
                if token.asserted
                else token.signed.partition(b".")[2]
            )
            headers.add(provider.forward_payload_header.lower(), raw.decode())
        for one in provider.claim_to_headers:
            value = _primitive(_at(token.payload, one.claim_name))
            if value:
                headers.add(one.header_name.lower(), value)
        if not provider.forward:
            for place in provider.from_headers:
                headers.remove(place.name.lower())
        if provider.payload_in_metadata:
            mine = self._exchange.metadata.setdefault(self._name, {})
            mine[provider.payload_in_metadata] = dict(token.payload)
        if provider.clear_route_cache:
            self._exchange.choose_route()


def _is_missed(reason: str) -> bool:
    return reason == tokens.MISSED


def _lives_too_long(provider: Any, token: Token, now: float) -> bool:
    if not provider.HasField("max_lifetime") or token.asserted:
        return False
    most = provider.max_lifetime.seconds
    return bool(token.payload.get("exp", 0) > int(now) + most)


def cookie(header: str, name: str) -> str:
    """Return the value of a cookie in a `cookie` header; "" without one."""
    for part in header.split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value.strip('"')
    return ""


def _bare(audience: str) -> str:
    """Scheme and trailing slash of an audience don't count."""
    for scheme in ("https://", "http://"):
        audience = audience.removeprefix(scheme)
    return audience.removesuffix("/")


def _at(payload: Any, path: str) -> Any:
    for name in path.split("."):
        payload = payload.get(name) if isinstance(payload, dict) else None
    return payload


def _primitive(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value
    if isinstance(value, float) and not value.is_integer():
        return f"{value:f}"
    return str(int(value)) if isinstance(value, int | float) else ""
