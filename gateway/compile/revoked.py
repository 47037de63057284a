"""The list of revoked tokens: one look into a hash table, whatever its length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.compile.envoy_api import any_of, make, message_class
from gateway.xds.resources import Resource, resource
from meshkit.tokens import TOKEN_ID_HEADER


if TYPE_CHECKING:
    from collections.abc import Iterable

REVOKED: Final = "aerofusion.revoked"
REVOKED_LATELY: Final = "aerofusion.revoked.lately"
RBAC_CONFIG: Final = "envoy.extensions.filters.http.rbac.v3.RBAC"
_INPUT = "envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
_ACTION = "envoy.config.rbac.v3.Action"
_ALLOW, _DENY = "ALLOW", "DENY"


def revoked(name: str, token_ids: Iterable[str]) -> Resource:
    """
    Return the config of the filter *name* that refuses revoked tokens.

    The token's id stands in a header that jwt_authn makes of its `jti`. There are two such
    filters, since the list has a megabyte when it is full: the one with those revoked last is
    small, and pushed each time.
    """
    config = message_class(RBAC_CONFIG)()
    tree = config.matcher.matcher_tree
    tree.input.name = "token_id"
    tree.input.typed_config.MergeFrom(_any(any_of(_INPUT, header_name=TOKEN_ID_HEADER)))
    denied = make("xds.type.matcher.v3.Matcher.OnMatch", action=_action("revoked", _DENY))
    entries = tree.exact_match_map.map
    for token_id in token_ids:
        entries[token_id].CopyFrom(denied)
    if not entries:
        # Envoy wants one at least; no token has an id of a space.
        entries[" "].CopyFrom(denied)
    config.matcher.on_no_match.action.MergeFrom(
        make("xds.core.v3.TypedExtensionConfig", **_action("good", _ALLOW))
    )
    message = make("envoy.config.core.v3.TypedExtensionConfig", name=name)
    message.typed_config.Pack(config, deterministic=True)
    return resource(name, message.SerializeToString(deterministic=True))


def _action(name: str, action: str) -> dict[str, Any]:
    # The filter puts the name into the answer's details.
    return {"name": name, "typed_config": any_of(_ACTION, name=name, action=action)}


def _any(packed: dict[str, Any]) -> Any:
    return make("google.protobuf.Any", **packed)
