"""What syncd speaks of: spaces, cells, mutations. Free of gRPC and SQL."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import IntEnum
from typing import TypeVar

from syncd.values import Kind


T = TypeVar("T")


class MergePolicy(IntEnum):
    """How concurrent writes to one field become one; numbers as in the contract."""

    LWW = 1
    MAX = 2
    MIN = 3
    COUNTER = 4
    ORSET = 5
    LIST = 6
    TEXT = 7
    IMMUTABLE = 8
    FSM = 9
    CUSTOM = 10
    MANUAL = 11


IMPLEMENTED = (MergePolicy.LWW,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a record."""

    name: str
    kind: Kind
    policy: MergePolicy = MergePolicy.LWW
    number: int = 0
    """1 to 128, given by the server; 0 before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """The fields a record may have."""

    fields: tuple[Field, ...]
    version: int = 1

    def by_name(self) -> dict[str, Field]:
        return {field.name: field for field in self.fields}

    def by_number(self) -> dict[int, Field]:
        return {field.number: field for field in self.fields}


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may read and write, besides operators. A writer may read."""

    reader_roles: tuple[str, ...] = ()
    writer_roles: tuple[str, ...] = ()
    reader_subjects: tuple[str, ...] = ()
    writer_subjects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """A space as the database has it, without its cells."""

    tenant: str
    space_id: str
    space_key: int
    display_name: str
    schema: Schema
    access: Access
    head_seq: int
    state_hash: int
    records_next: int
    """Number the next new record gets; the first is 1."""

    version: int
    """Grows with each update of the space itself; the etag is made of it."""

    create_time: datetime
    update_time: datetime

    @property
    def name(self) -> str:
        return f"tenants/{self.tenant}/spaces/{self.space_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where a space stands, with a proof."""

    space_key: int
    seq: int
    state_hash: int


@dataclass(frozen=True, slots=True)
class Write:
    """Who wrote something, and when: what later writes are compared with."""

    seq: int
    hlc: int
    device: str
    number: int
    """The device's own count of its mutations."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A value and who wrote it."""

    value: bytes
    write: Write


@dataclass(slots=True, kw_only=True)
class Record:
    """A record while mutations are merged into it."""

    record_id: str
    number: int
    created_seq: int
    """The `seq` with which it came, or came back after a removal."""

    removal: Write | None = None
    """The newest removal, if there ever was one."""

    cells: dict[int, Cell] = field(default_factory=dict)
    """By field number. A record without cells is gone."""


@dataclass(frozen=True, slots=True)
class SetFields:
    """Set some fields of a record: values by name."""

    record: str
    values: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class DeleteRecord:
    """Remove a record."""

    record: str


@dataclass(frozen=True, slots=True)
class UnknownOperation:
    """An operation of a newer client."""

    record: str


Operation = SetFields | DeleteRecord | UnknownOperation


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """A change made on one device: all of it takes effect at once."""

    number: int
    base_seq: int
    hlc: int
    operations: tuple[Operation, ...]

    def digest(self) -> bytes:
        """Return 16 bytes that differ if anything of the mutation does."""
        parts = [self.number.to_bytes(8, "big"), self.base_seq.to_bytes(8, "big")]
        parts.append(self.hlc.to_bytes(8, "big"))
        for operation in self.operations:
            parts.append(type(operation).__name__.encode())
            parts.append(operation.record.encode())
            if isinstance(operation, SetFields):
                for name in sorted(operation.values):
                    parts += [name.encode(), operation.values[name]]
            parts.append(b"end")
        framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hashlib.blake2b(framed, digest_size=16).digest()


class Status(IntEnum):
    """What became of a mutation; numbers as in the contract."""

    APPLIED = 1
    MERGED = 2
    SUPERSEDED = 3
    REJECTED = 4
    FORGOTTEN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one mutation."""

    number: int
    status: Status
    seq: int = 0
    """A device whose cursor is here sees the outcome."""

    reason: str = ""
    message: str = ""


class Loss(IntEnum):
    """Why a write lost; numbers as in the contract."""

    OLDER = 1
    DELETED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Loser:
    """A value that lost against something concurrent: an entry of the journal."""

    record: str
    field: int
    value: bytes
    device: str
    number: int
    hlc: int
    reason: Loss
    winner_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Mutations of one device."""

    device: str
    mutations: tuple[Mutation, ...]
    confirmed_through: int = 0


@dataclass(frozen=True, slots=True)
class FeedCell:
    """A cell as the feed of changes has it."""

    seq: int
    record: int
    field: int
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """All cells of a space that changed in `(from_seq, to_seq]`, as they are now."""

    space_key: int
    from_seq: int
    to_seq: int
    cells: Sequence[FeedCell]
    """In the order of seq, record and field."""

    new_records: Sequence[tuple[int, str]]
    """Number and id, by number."""

    removals: Sequence[tuple[int, int]]
    """Record number and seq, by seq and number."""

    more: bool
    state_hash: int | None
    """At `to_seq`; None when there is more."""

    hlc_max: int


def with_numbers(schema: Schema) -> Schema:
    """Return *schema* with numbers for the fields that have none, after the greatest in use."""
    number = max((field.number for field in schema.fields), default=0)
    fields = []
    for each in schema.fields:
        if each.number:
            fields.append(each)
        else:
            number += 1
            fields.append(replace(each, number=number))
    return replace(schema, fields=tuple(fields))
