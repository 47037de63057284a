"""What the catalog's tables hold, as objects, and rows to them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from gateway.kinds import kind_of
from gateway.model import Object, Service
from gateway.store import codec


if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg

    Row = asyncpg.Record

OBJECTS: Final = (
    "SELECT o.*, d.content AS descriptor_set FROM objects o"
    " LEFT JOIN descriptor_sets d ON d.sha256 = o.content->>'descriptor_set'"
)
REVISIONS: Final = (
    "SELECT r.*, d.content AS descriptor_set FROM revisions r"
    " LEFT JOIN descriptor_sets d ON d.sha256 = r.content->>'descriptor_set'"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An object as it stands in the catalog."""

    value: Object
    etag: str
    revision: int
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One change of one object."""

    revision: int
    object: str
    action: str
    """`create`, `update` or `delete`."""

    stored: Stored | None
    """The object as the change left it; None: deleted."""

    actor: str
    create_time: datetime
    change_first: int
    """The first revision of the change it is part of."""

    canary: dict[str, Any] | None = None
    """Which edges get the change first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeMade:
    """Some revisions that were made together."""

    first: int
    last: int
    actor: str
    create_time: datetime
    objects: tuple[str, ...]
    canary: str
    """`watched`, `promoted` or `rolled_back`; empty: all edges had it at once."""

    reason: str
    """Why it was rolled back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What an earlier request with the same id came to."""

    digest: bytes
    object: str
    revision: int


def digest(content: Mapping[str, Any]) -> str:
    """Return the hash of an object's content, hex."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def stored_of(row: Row) -> Stored:
    """Return the object of a row of `OBJECTS`."""
    return Stored(
        value=codec.decode(row["kind"], row["name"], row["content"], row["descriptor_set"] or b""),
        etag=row["etag"],
        revision=row["revision"],
        create_time=row["create_time"],
        update_time=row["update_time"],
    )


def revision_of(row: Row) -> Revision:
    """Return the revision of a row of `REVISIONS`."""
    name = row["object"]
    stored = None
    if row["content"] is not None:
        stored = Stored(
            value=codec.decode(
                kind_of(name).key, name, row["content"], row["descriptor_set"] or b""
            ),
            etag=row["etag"],
            revision=row["revision"],
            create_time=row["object_create_time"],
            update_time=row["create_time"],
        )
    return Revision(
        revision=row["revision"],
        object=name,
        action=row["action"],
        stored=stored,
        actor=row["actor"],
        create_time=row["create_time"],
        change_first=row["change_first"] or row["revision"],
        canary=row["canary"],
    )


def api_of(stored: Stored | None) -> bytes:
    """Return the descriptors of a service with a JSON API; b"" if it is none."""
    value = stored.value if stored is not None else None
    return value.descriptor_set if isinstance(value, Service) and value.json_prefixes else b""
