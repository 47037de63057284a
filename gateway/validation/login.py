"""What the sign-in of a host's browsers must be like."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gateway.validation.checks import Problems, check_name, check_path, count, each, within


if TYPE_CHECKING:
    from gateway.model import OidcLogin

SCOPES_MAX: Final = 16
GENERATION_MAX: Final = 2**31 - 1

_ADDRESS = re.compile(r"https://[a-z0-9.-]{1,253}(:[0-9]{1,5})?(/[\x21\x23-\x7e]{0,400})?")
"""Without user, fragment and whatever would have to be encoded."""

_CLIENT = re.compile(r"[\x21-\x39\x3b-\x7e]{1,200}")
"""HTTP's Basic scheme has a colon behind it."""

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,100}")
"""RFC 6749, 3.3."""


def check_login(problems: Problems, login: OidcLogin) -> None:
    """Note what is wrong with *login*; whether it has its secret is known when that is sealed."""
    check_name(problems, "login.issuer", login.issuer, "issuers")
    check_name(problems, "login.token_service", login.token_service, "services")
    for field in ("authorization_endpoint", "token_endpoint", "end_session_endpoint"):
        address = getattr(login, field)
        optional = field == "end_session_endpoint" and not address
        if not optional and ("#" in address or not _ADDRESS.fullmatch(address)):
            problems[f"login.{field}"] = "must be an https:// address"
    if not _CLIENT.fullmatch(login.client_id):
        problems["login.client_id"] = "must have 1 to 200 visible characters and no colon"
    count(problems, "login.scopes", login.scopes, SCOPES_MAX)
    each(problems, "login.scopes", login.scopes, _SCOPE, "not a scope")
    if login.scopes and "openid" not in login.scopes:
        problems["login.scopes"] = "must have openid among them"
    for field in ("redirect_path", "signout_path"):
        check_path(problems, f"login.{field}", getattr(login, field))
    if login.redirect_path == login.signout_path:
        problems["login.signout_path"] = "is the redirect_path, too"
    within(problems, "login.session_generation", login.session_generation, 0, GENERATION_MAX)
