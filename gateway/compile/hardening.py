"""What the edge refuses whatever it is asked, and what its own refusals say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.compile.envoy_api import any_of


if TYPE_CHECKING:
    from collections.abc import Sequence

SHAPE: Final = "aerofusion.filters.http.shape"

SPOOFABLE: Final = (
    *("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "x-client-ip"),
    *("true-client-ip", "x-forwarded-client-cert"),
)
"""Headers by which a proxy tells of its client: nobody is one before the edge. Envoy appends to
`x-forwarded-for`, so that what was sent must go first."""

NOTHING: Final = "There is nothing by this name."

_RBAC = "envoy.extensions.filters.http.rbac.v3.RBAC"
_TEXTS: Final[Sequence[tuple[int, Sequence[str], str]]] = (
    (401, (), "unauthenticated"),
    (403, (), "not allowed"),
    (404, ("NR", "NC"), NOTHING),
    (
        503,
        ("UH", "UF", "UC", "UO", "UR", "LR", "LH", "URX", "DF", "UPE"),
        "The service can't be reached now.",
    ),
    (504, ("UT",), "The service took too long."),
)
"""By status and response flags: Envoy's own texts tell of keys, addresses and connections.

Routes that answer by themselves have no flags and keep their texts; but a 401 of `jwt_authn` has
none either.
"""


def shape() -> dict[str, Any]:
    """
    Return the filter that refuses what no client needs, before anything else looks at it.

    TRACE would send back headers that the edge wrote. Two Host headers reach HTTP/2 as one
    authority with a comma, and whoever reads the first alone sees another host than we did.
    """
    unwanted = {
        "trace": {"name": ":method", "string_match": {"exact": "TRACE"}},
        "two_hosts": {"name": ":authority", "string_match": {"contains": ","}},
    }
    return {
        "name": SHAPE,
        "typed_config": any_of(
            _RBAC,
            rules={
                "action": "DENY",
                "policies": {
                    name: {"permissions": [{"header": header}], "principals": [{"any": True}]}
                    for name, header in unwanted.items()
                },
            },
        ),
    }


def replies() -> dict[str, Any]:
    """Return the connection manager's `local_reply_config`: fixed texts."""
    return {
        "mappers": [
            {
                "filter": _told_as(status, flags),
                "body": {"inline_string": text},
            }
            for status, flags, text in _TEXTS
        ]
    }


def _told_as(status: int, flags: Sequence[str]) -> dict[str, Any]:
    value = {"default_value": status, "runtime_key": f"edge.replies.{status}"}
    has_status = {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}
    if not flags:
        return has_status
    return {"and_filter": {"filters": [has_status, {"response_flag_filter": {"flags": flags}}]}}
