"""What a space may be: names, schemas, access. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from meshkit.authz import OPERATOR, Caller
from meshkit.errors import FailedPrecondition, InvalidInput, PermissionDenied
from syncd.limits import Limits
from syncd.model import IMPLEMENTED, Access, Schema, Space, with_numbers


SEGMENT = r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
TENANT = r"[a-z0-9][a-z0-9-]{0,62}"
TENANT_NAME = re.compile(rf"tenants/({TENANT})")
SPACE_ID = re.compile(SEGMENT)
SPACE_NAME = re.compile(rf"tenants/({TENANT})/spaces/({SEGMENT})")
RECORD_NAME = re.compile(
    rf"tenants/({TENANT})/spaces/({SEGMENT})/records/([A-Za-z0-9._:~-]{{1,128}})"
)
FIELD_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
DEVICE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
ROLE = re.compile(r"[a-z][a-z0-9_-]{0,62}")
SUBJECT = re.compile(r"[!-~]{1,256}")
DISPLAY_NAME_MAX = 200


def parse_space(name: str, field: str = "space") -> tuple[str, str]:
    """
    Return tenant and space id of a resource name.

    Raises:
        InvalidInput: *name*, found in the request's *field*, is none.

    """
    match = SPACE_NAME.fullmatch(name)
    if match is None:
        raise _invalid("SPACE_NAME_INVALID", field, "must be tenants/{tenant}/spaces/{space}")
    return match[1], match[2]


def parse_tenant(name: str) -> str:
    match = TENANT_NAME.fullmatch(name)
    if match is None:
        raise _invalid("TENANT_NAME_INVALID", "parent", "must be tenants/{tenant}")
    return match[1]


def parse_record(name: str) -> tuple[str, str, str]:
    match = RECORD_NAME.fullmatch(name)
    if match is None:
        text = "must be tenants/{tenant}/spaces/{space}/records/{record}"
        raise _invalid("RECORD_NAME_INVALID", "name", text)
    return match[1], match[2], match[3]


def check_space_id(space_id: str) -> None:
    if SPACE_ID.fullmatch(space_id) is None:
        raise _invalid("SPACE_ID_INVALID", "space_id", "1 to 63 of a-z0-9-, a letter first")


def check_device_id(device: str) -> None:
    if DEVICE_ID.fullmatch(device) is None:
        raise _invalid("DEVICE_ID_INVALID", "device_id", "1 to 64 of A-Za-z0-9._-")


def check_display_name(text: str) -> None:
    if len(text) > DISPLAY_NAME_MAX:
        raise _invalid("DISPLAY_NAME_TOO_LONG", "space.display_name", "at most 200 characters")


def check_schema(schema: Schema, limits: Limits) -> Schema:
    """
    Return *schema* with its fields numbered from 1.

    Raises:
        InvalidInput: It has no fields or too many, a bad or a double name, or a merge
            policy that isn't implemented.

    """
    path = "space.schema.fields"
    if not 1 <= len(schema.fields) <= limits.fields_max:
        raise _invalid("SCHEMA_SIZE_INVALID", path, f"1 to {limits.fields_max} fields")
    seen = set()
    for index, field in enumerate(schema.fields):
        where = f"{path}[{index}]"
        if FIELD_NAME.fullmatch(field.name) is None:
            raise _invalid("FIELD_NAME_INVALID", f"{where}.name", "1 to 63 of a-z0-9_")
        if field.name in seen:
            raise _invalid("FIELD_NAME_TAKEN", f"{where}.name", "there is another one")
        seen.add(field.name)
        if field.policy not in IMPLEMENTED:
            text = f"{field.policy.name} is reserved; only LWW is implemented"
            raise _invalid("MERGE_POLICY_NOT_IMPLEMENTED", f"{where}.policy", text)
    return with_numbers(schema)


def evolve_schema(old: Schema, new: Schema, limits: Limits) -> Schema:
    """
    Return what *old* becomes when *new* is asked for: the same fields, and perhaps more.

    Raises:
        InvalidInput: *new* isn't a good schema by itself.
        FailedPrecondition: It lacks a field of *old*, or changes one: devices that have
            been offline still write to it.

    """
    check_schema(new, limits)
    wanted = new.by_name()
    for field in old.fields:
        same = wanted.get(field.name)
        if same is None or (same.kind, same.policy) != (field.kind, field.policy):
            raise FailedPrecondition(
                "SCHEMA_INCOMPATIBLE",
                "An update may only add fields; make a new space for anything else.",
                field=field.name,
            )
    numbers = {field.name: field.number for field in old.fields}
    added = [field for field in new.fields if field.name not in numbers]
    if not added:
        return old
    grown = with_numbers(Schema(fields=(*old.fields, *added), version=old.version))
    return replace(grown, version=old.version + 1)


def check_access(access: Access, limits: Limits) -> None:
    """Refuse too long lists, and names that no role or subject can have."""
    lists: Sequence[tuple[str, tuple[str, ...], re.Pattern[str], int]] = (
        ("reader_roles", access.reader_roles, ROLE, limits.roles_max),
        ("writer_roles", access.writer_roles, ROLE, limits.roles_max),
        ("reader_subjects", access.reader_subjects, SUBJECT, limits.subjects_max),
        ("writer_subjects", access.writer_subjects, SUBJECT, limits.subjects_max),
    )
    for name, entries, pattern, most in lists:
        path = f"space.access.{name}"
        if len(entries) > most:
            raise _invalid("ACCESS_TOO_LONG", path, f"at most {most} entries")
        if not all(pattern.fullmatch(entry) for entry in entries):
            raise _invalid("ACCESS_ENTRY_INVALID", path, "holds what no role or subject can be")


def may_write(caller: Caller, space: Space) -> bool:
    access = space.access
    return _within(caller, space) and (
        OPERATOR in caller.roles
        or bool(caller.roles.intersection(access.writer_roles))
        or caller.subject in access.writer_subjects
    )


def may_read(caller: Caller, space: Space) -> bool:
    access = space.access
    return may_write(caller, space) or (
        _within(caller, space)
        and (
            bool(caller.roles.intersection(access.reader_roles))
            or caller.subject in access.reader_subjects
        )
    )


def check_write(caller: Caller, space: Space) -> None:
    if not may_write(caller, space):
        raise PermissionDenied(
            "ACCESS_DENIED",
            "The space's access policy lets this caller read it but not write to it.",
            space=space.name,
        )


def _within(caller: Caller, space: Space) -> bool:
    return caller.tenant in ("", space.tenant)


def _invalid(reason: str, field: str, what: str) -> InvalidInput:
    return InvalidInput(reason, f"{field}: {what}.", field_violations={field: what})
