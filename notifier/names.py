"""Resource names: `tenants/{tenant}/recipients/{recipient}` and the like."""

from __future__ import annotations

import re
import uuid

from meshkit.errors import InvalidInput


ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,127}")
CHANNEL = re.compile(r"[a-z][a-z0-9_-]{0,31}")


class BadName(ValueError):
    """A text is no resource name of the wanted form; the message says which form."""


def parse(name: str, *collections: str) -> tuple[str, ...]:
    """
    Return the ids of *name*, which must be `tenants/{}/<collection>/{}...`.

    Raises:
        BadName: It isn't.

    """
    wanted = ("tenants", *collections)
    parts = name.split("/")
    ids = tuple(parts[1::2])
    if tuple(parts[0::2]) != wanted or len(parts) != 2 * len(wanted):
        raise BadName(f"must be {_form(wanted)}")
    if not all(ID.fullmatch(one) for one in ids):
        raise BadName(f"must be {_form(wanted)} with ids of A-Z a-z 0-9 . _ ~ - up to 128")
    return ids


def read(field: str, name: str, *collections: str) -> tuple[str, ...]:
    """
    Return the ids of the request's *field*, as `parse` does.

    Raises:
        InvalidInput: INVALID_NAME.

    """
    try:
        return parse(name, *collections)
    except BadName as error:
        raise InvalidInput(
            "INVALID_NAME", f"{field} {error}.", field_violations={field: str(error)}
        ) from None


def is_uuid(text: str) -> bool:
    """Whether *text* can be an id that we gave."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def tenant_name(tenant: str) -> str:
    return f"tenants/{tenant}"


def recipient_name(tenant: str, recipient: str) -> str:
    return f"tenants/{tenant}/recipients/{recipient}"


def topic_name(tenant: str, topic: str) -> str:
    return f"tenants/{tenant}/topics/{topic}"


def template_name(tenant: str, template: str) -> str:
    return f"tenants/{tenant}/templates/{template}"


def notification_name(tenant: str, notification: str) -> str:
    return f"tenants/{tenant}/notifications/{notification}"


def delivery_name(tenant: str, notification: str, delivery: str) -> str:
    return f"tenants/{tenant}/notifications/{notification}/deliveries/{delivery}"


def message_name(tenant: str, recipient: str, seq: int) -> str:
    return f"tenants/{tenant}/recipients/{recipient}/messages/{seq}"


def _form(wanted: tuple[str, ...]) -> str:
    return "/".join(f"{part}/{{{part.removesuffix('s')}}}" for part in wanted)
