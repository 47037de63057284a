"""Names of objects, and the kinds that they tell."""

from __future__ import annotations

import difflib
from typing import Any

from google.protobuf.message import Message

from aerofusion.gateway.v1 import object_pb2


KINDS = {
    "services": "service",
    "routes": "route",
    "hosts": "host",
    "issuers": "issuer",
    "policies": "policy",
    "limits": "limit",
    "certificates": "certificate",
}
"""What comes before an object's own id, to the field of the contract's `Object`."""

FORMS = "services/S, services/S/routes/R, hosts/H, issuers/I, policies/P, limits/L, certificates/C"


def kind_of(name: str) -> str | None:
    """The field of `Object` for the object that *name* names; None if it is no name."""
    parts = name.split("/")
    if not all(parts) or len(parts) not in (2, 4):
        return None
    kind = KINDS.get(parts[-2])
    in_service = len(parts) == 4 and parts[0] == "services"
    return kind if kind is not None and in_service == (kind == "route") else None


def content_of(message: object_pb2.Object) -> Any:
    """The service, route, host... that *message* holds."""
    kind = message.WhichOneof("kind")
    assert kind is not None, "an object is of a kind"
    return getattr(message, kind)


def object_of(content: Message) -> object_pb2.Object:
    """An object that holds *content*."""
    kinds = object_pb2.Object.DESCRIPTOR.oneofs_by_name["kind"].fields
    field = next(one.name for one in kinds if one.message_type == content.DESCRIPTOR)
    made = object_pb2.Object()
    getattr(made, field).CopyFrom(content)
    return made


def near(word: str, known: list[str]) -> str:
    """`; did you mean X?` if something known is like *word*, else nothing."""
    found = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {found[0]}?" if found else ""
