"""Rows to and from what syncd speaks of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from syncd import integrity
from syncd.model import Access, Field, MergePolicy, Schema, Space
from syncd.values import Kind


def space(row: Any) -> Space:
    return Space(
        tenant=row["tenant"],
        space_id=row["space_id"],
        space_key=row["space_key"],
        display_name=row["display_name"],
        schema=schema(row["schema"]),
        access=Access(**{name: tuple(entries) for name, entries in row["access"].items()}),
        head_seq=row["head_seq"],
        state_hash=integrity.from_bytes(row["state_hash"]),
        records_next=row["records_next"],
        version=row["version"],
        create_time=row["create_time"],
        update_time=row["update_time"],
    )


def schema(document: Mapping[str, Any]) -> Schema:
    return Schema(
        version=document["version"],
        fields=tuple(
            Field(
                name=field["name"],
                kind=Kind[field["kind"]],
                policy=MergePolicy[field["policy"]],
                number=field["number"],
            )
            for field in document["fields"]
        ),
    )


def schema_document(schema: Schema) -> dict[str, Any]:
    return {
        "version": schema.version,
        "fields": [
            {
                "name": field.name,
                "kind": field.kind.name,
                "policy": field.policy.name,
                "number": field.number,
            }
            for field in schema.fields
        ],
    }


def access_document(access: Access) -> dict[str, Any]:
    return {
        "reader_roles": list(access.reader_roles),
        "writer_roles": list(access.writer_roles),
        "reader_subjects": list(access.reader_subjects),
        "writer_subjects": list(access.writer_subjects),
    }
