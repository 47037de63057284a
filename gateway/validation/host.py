"""What a host and its certificate must be like, whoever writes them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import re2

from gateway.validation.checks import (
    CALL_TIMEOUT,
    DESCRIPTION_LENGTH_MAX,
    ID,
    PATH_LENGTH_MAX,
    Problems,
    between,
    check_access,
    check_chain,
    check_condition,
    check_destinations,
    check_header_changes,
    check_headers,
    check_name,
    check_path,
    check_retry,
    count,
    each,
    length,
    refuse,
    within,
)
from gateway.validation.login import check_login


if TYPE_CHECKING:
    from gateway.model import (
        Certificate,
        DirectResponse,
        Forward,
        Host,
        HttpMatch,
        HttpRule,
        Redirect,
    )

HOSTS_MAX: Final = 500
CERTIFICATES_MAX: Final = 1_000
DOMAINS_MAX: Final = 32
RULES_MAX: Final = 500
ORIGINS_MAX: Final = 32
QUERY_MAX: Final = 16
REGEX_LENGTH_MAX: Final = 200
BODY_BYTES_MAX: Final = 4096
REGEX_PROGRAM_MAX: Final = 200
"""RE2's measure of a compiled expression; as `re2.max_program_size` in the edge's bootstrap."""


_DOMAIN = re.compile(
    r"(\*\.)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+"
)
_ORIGIN = re.compile(r"\*|https?://[a-z0-9.-]{1,253}(:[0-9]{1,5})?")
_METHOD = re.compile(r"GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS")
"""The edge refuses TRACE and CONNECT."""

_HOST = re.compile(r"[a-z0-9.-]{1,253}(:[0-9]{1,5})?")
_SUBSTITUTION = re.compile(r"/([\x21-\x22\x24\x26-\x3e\x40-\x5b\x5d-\x7e]|\\[0-9])*")
_CONTENT_TYPE = re.compile(r"[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,60}(; ?[a-z0-9=.+-]{1,60})?")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NONE = timedelta(0)


def check_host(host: Host) -> None:
    """
    Refuse a host that can't be.

    Raises:
        InvalidInput: INVALID_OBJECT, with every problem.

    """
    problems: Problems = {}
    length(problems, "description", host.description, DESCRIPTION_LENGTH_MAX)
    count(problems, "domains", host.domains, DOMAINS_MAX)
    each(problems, "domains", host.domains, _DOMAIN, "not a lower-case domain")
    if not host.domains:
        problems["domains"] = "at least one is needed"
    check_access(problems, "access", host.access)
    count(problems, "cors_origins", host.cors_origins, ORIGINS_MAX)
    each(problems, "cors_origins", host.cors_origins, _ORIGIN, "not an origin")
    if host.certificate:
        check_name(problems, "certificate", host.certificate, "certificates")
    if host.login is not None:
        check_login(problems, host.login)
    if not 1 <= len(host.rules) <= RULES_MAX:
        problems["rules"] = f"must be 1 to {RULES_MAX}"
    seen = set()
    for number, rule in enumerate(host.rules[:RULES_MAX]):
        own: Problems = {}
        _check_rule(own, rule)
        if not ID.fullmatch(rule.id) or rule.id in seen:
            own["id"] = "not an id, or there twice"
        seen.add(rule.id)
        problems |= {f"rules[{number}].{path}": what for path, what in own.items()}
    refuse(problems, "INVALID_OBJECT", "host")


def check_certificate(certificate: Certificate) -> None:
    """
    Refuse what isn't a certificate.

    Raises:
        InvalidInput: INVALID_OBJECT, with every problem.

    """
    problems: Problems = {}
    length(problems, "description", certificate.description, DESCRIPTION_LENGTH_MAX)
    check_chain(problems, "chain_pem", certificate.chain_pem)
    refuse(problems, "INVALID_OBJECT", "certificate")


def _check_rule(problems: Problems, rule: HttpRule) -> None:
    _check_match(problems, rule.match)
    actions = [rule.forward, rule.redirect, rule.direct_response]
    if sum(one is not None for one in actions) != 1:
        problems["action"] = "needs exactly one"
    if rule.forward is not None:
        _check_forward(problems, rule.forward, rule.match)
    if rule.redirect is not None:
        _check_redirect(problems, rule.redirect, rule.match)
    if rule.direct_response is not None:
        _check_direct(problems, rule.direct_response)
    check_header_changes(problems, "request_headers", rule.request_headers)
    check_header_changes(problems, "response_headers", rule.response_headers)
    if rule.access is not None:
        check_access(problems, "access", rule.access)


def _check_match(problems: Problems, match: HttpMatch) -> None:
    for field in ("exact_path", "path_prefix"):
        check_path(problems, f"match.{field}", getattr(match, field))
    if match.path_regex is not None:
        _check_regex(problems, "match.path_regex", match.path_regex)
    each(problems, "match.methods", match.methods, _METHOD, "not a method")
    count(problems, "match.methods", match.methods, 9)
    check_headers(problems, "match.headers", match.headers)
    count(problems, "match.query", match.query, QUERY_MAX)
    for number, query in enumerate(match.query[:QUERY_MAX]):
        if not query.name or len(query.name) > 100:
            problems[f"match.query[{number}].name"] = "must have 1 to 100 characters"
        check_condition(problems, f"match.query[{number}]", query)


def _check_regex(problems: Problems, at: str, text: str) -> None:
    length(problems, at, text, REGEX_LENGTH_MAX)
    if not text:
        problems[at] = "must not be empty"
    try:
        program = re2.compile(text)
    except re2.error as error:
        problems[at] = f"not a regular expression: {error}"
        return
    if program.programsize > REGEX_PROGRAM_MAX:
        problems[at] = f"too large: {program.programsize} steps, at most {REGEX_PROGRAM_MAX}"


def _check_substitution(problems: Problems, at: str, text: str, regex: str) -> None:
    try:
        groups = re2.compile(regex).groups
    except re2.error:
        return  # Told already.
    used = [int(one) for one in re.findall(r"\\([0-9])", text)]
    if not _SUBSTITUTION.fullmatch(text) or len(text) > PATH_LENGTH_MAX:
        problems[at] = "must begin with / and be a path, with \\1 for the first group"
    elif any(one > groups for one in used):
        problems[at] = f"names a group that isn't there; there are {groups}"


def _check_direct(problems: Problems, answer: DirectResponse) -> None:
    within(problems, "direct_response.status", answer.status, 200, 599)
    if len(answer.body.encode()) > BODY_BYTES_MAX:
        problems["direct_response.body"] = f"longer than {BODY_BYTES_MAX} bytes"
    if not _CONTENT_TYPE.fullmatch(answer.content_type):
        problems["direct_response.content_type"] = "not a media type"


def _check_forward(problems: Problems, forward: Forward, match: HttpMatch) -> None:
    check_destinations(problems, "forward.destinations", forward.destinations, forward.mirrors)
    if not forward.destinations:
        problems["forward.destinations"] = "at least one is needed"
    if forward.host and not _HOST.fullmatch(forward.host):
        problems["forward.host"] = "not a host"
    between(problems, "forward.timeout", forward.timeout, CALL_TIMEOUT)
    check_retry(problems, "forward.retry", forward.retry)
    rewrite = forward.rewrite
    if rewrite is None:
        return
    if rewrite.prefix is not None and match.path_prefix is None:
        problems["forward.rewrite.prefix"] = "needs a path_prefix to replace"
    if rewrite.substitution is not None and match.path_regex is None:
        problems["forward.rewrite.substitution"] = "needs a path_regex"
    if (rewrite.prefix, rewrite.full, rewrite.substitution) == (None, None, None):
        problems["forward.rewrite"] = "needs one of its kinds"
    for field in ("prefix", "full"):
        check_path(problems, f"forward.rewrite.{field}", getattr(rewrite, field))
    if rewrite.substitution is not None and match.path_regex is not None:
        at = "forward.rewrite.substitution"
        _check_substitution(problems, at, rewrite.substitution, match.path_regex)


def _check_redirect(problems: Problems, redirect: Redirect, match: HttpMatch) -> None:
    if redirect.status not in _REDIRECTS:
        problems["redirect.status"] = "must be 301, 302, 303, 307 or 308"
    if redirect.host and not _HOST.fullmatch(redirect.host):
        problems["redirect.host"] = "not a host"
    if redirect.prefix is not None and match.path_prefix is None:
        problems["redirect.prefix"] = "needs a path_prefix to replace"
    for field in ("full_path", "prefix"):
        check_path(problems, f"redirect.{field}", getattr(redirect, field))
    within(problems, "redirect.port", redirect.port, 0, 65_535)
