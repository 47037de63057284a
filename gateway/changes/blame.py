"""Which object, and which of its fields, a proxy's refusal is about. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final


if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import Catalog

_VALIDATION = re.compile(r"(\w+?)ValidationError\.(\w+(?:\[\d+\])?)")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_FIELDS: Final = (
    # What Envoy's texts say, and the field that such a thing comes from.
    (re.compile(r"regex|RE2", re.IGNORECASE), "rules[].match.path_regex"),
    (re.compile(r"malformed IP|resolve|socket address", re.IGNORECASE), "endpoints[].address"),
    (re.compile(r"certificate|private key|PEM|X509", re.IGNORECASE), "certificate"),
    (re.compile(r"jwks", re.IGNORECASE), "jwks"),
    (re.compile(r"proto descriptor|descriptor_bin|transcoding", re.IGNORECASE), "descriptor_set"),
    (re.compile(r"weight", re.IGNORECASE), "destinations[].weight"),
    (re.compile(r"duplicate .*domain|server_names|filter chain", re.IGNORECASE), "domains"),
    (re.compile(r"header", re.IGNORECASE), "request_headers"),
)


def object_of(resource_type: str, name: str, catalog: Catalog, objects: Sequence[str]) -> str:
    """
    Return the object that a resource was made of, or "".

    Args:
        objects: What the change changed: where a resource has many sources, one of these.

    """
    own = name.partition("#")[0]
    if catalog.get(own) is not None or own in objects:
        return own
    if resource_type in ("RDS", "SRDS"):
        owner = catalog.owner_of(name) or next(
            (one for one in catalog.services.values() if name in one.json_prefixes), None
        )
        if owner is not None:
            return owner.name
    if f"services/{name}" in catalog.services:
        return f"services/{name}"
    return objects[0] if len(set(objects)) == 1 else ""


def field_of(error: str) -> str:
    """Return the field that a proxy's text points at, or ""."""
    found = _VALIDATION.findall(error)
    if found:
        return ".".join(_CAMEL.sub("_", field).lower() for _, field in found[-1:])
    return next((field for pattern, field in _FIELDS if pattern.search(error)), "")
