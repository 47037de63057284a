"""What limits count calls by, written into headers by one filter before those that limit."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from gateway.compile.envoy_api import any_of
from gateway.compile.issuers import (
    CLAIMS_METADATA,
    FOREIGN_METADATA,
    JWT_AUTHN,
    KEY_ID_HEADER,
)
from gateway.limits.reach import ABSENT, label


if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.model import LimitKey

KEYS_CONFIG: Final = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
METHOD_HEADER: Final = "x-aerofusion-limit-method"
"""The path without its query: otherwise each query would be a method of its own."""

ROUTE_HEADER: Final = "x-aerofusion-limit-route"
"""The route's name: of a host's it begins with the host's, whatever `:authority` says."""

_PREFIX = "x-aerofusion-limit-"
_CLAIM = f"%DYNAMIC_METADATA({JWT_AUTHN}:{CLAIMS_METADATA}:{{}})%"
_FOREIGN = f"%DYNAMIC_METADATA({JWT_AUTHN}:{FOREIGN_METADATA}:{{}})%"
_FORMATS = {
    # Of another issuer's token: the issuer, for which claim names the tenant is a matter of each,
    # and the subject within it. Neither can be made to look like one of ours.
    "tenant": _CLAIM.format("tenant") + _FOREIGN.format("iss"),
    "subject": _CLAIM.format("sub") + _FOREIGN.format("iss") + _FOREIGN.format("sub"),
    "api_key": f"%REQ({KEY_ID_HEADER})%",
    "remote_address": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "method": "%PATH(NQ:PATH)%",
}


def header_of(key: LimitKey) -> str:
    """Return the header that has the value of *key*; only the edge writes it."""
    if key.claim is not None or key.header is not None:
        # Claims may have characters that headers may not.
        return f"{_PREFIX}k-{hashlib.sha256(label(key).encode()).hexdigest()[:12]}"
    return METHOD_HEADER if key.method else _PREFIX + label(key).replace("_", "-")


def mutations(keys: Iterable[LimitKey], *, method: bool, host: bool) -> dict[str, Any]:
    """
    Return the filter's config. What a call hasn't is `ABSENT`.

    Args:
        method: Limits are told apart by the method, too.
        host: Or by the host.

    """
    formats = {METHOD_HEADER: _FORMATS["method"]} if method else {}
    if host:
        formats[ROUTE_HEADER] = "%ROUTE_NAME%"
    for key in keys:
        formats[header_of(key)] = _format(key)
    changes = []
    for header, value in sorted(formats.items()):
        # An empty value isn't written: what stands there before is the default.
        changes += [_set(header, ABSENT), _set(header, value)]
    return any_of(KEYS_CONFIG, mutations={"request_mutations": changes})


def nothing() -> dict[str, Any]:
    """Return the config of a filter that does nothing, for where no limit is kept."""
    return any_of(KEYS_CONFIG)


def _format(key: LimitKey) -> str:
    if key.claim is not None:
        return _CLAIM.format(key.claim) + _FOREIGN.format(key.claim)
    return f"%REQ({key.header})%" if key.header is not None else _FORMATS[label(key)]


def _set(header: str, value: str) -> dict[str, Any]:
    return {
        "append": {
            "header": {"key": header, "value": value},
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        }
    }
