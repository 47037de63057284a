"""Whose data it is: the sender says so, in a header."""

from __future__ import annotations

import re

from meshkit.errors import InvalidInput


TENANT_HEADER = "X-Scope-OrgID"
"""As in Mimir and Cortex; over gRPC, metadata of the same name in lower case."""

_NAME = re.compile(r"[A-Za-z0-9._-]{0,64}", re.ASCII)


def tenant_of(name: str) -> str:
    """
    Return *name*, the header's value, if it can be a tenant's; empty: the mesh itself.

    Raises:
        InvalidInput: `BAD_TENANT`.

    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            "BAD_TENANT", "A tenant is at most 64 letters, digits, dots, hyphens and underscores."
        )
    return name
