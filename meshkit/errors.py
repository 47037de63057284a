"""
Errors a caller may see. Free of gRPC; `meshkit.status` gives them their codes.

    MeshError
    ├── InvalidInput        the request can never succeed           fix it
    ├── Unauthenticated     who is calling is not proven            fix the credentials
    ├── PermissionDenied    the caller may not do this              give up, or ask an operator
    ├── NotFound            the named resource does not exist       fix the name
    ├── AlreadyExists       the name is taken                       fix the name
    ├── FailedPrecondition  the system's state forbids it           change the state first
    ├── Conflict            someone else changed it first           re-read, then retry
    ├── Overloaded          a bounded queue is full                 wait for `retry_after`
    └── Unavailable         a part is away                          wait for `retry_after`
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta


class MeshError(Exception):
    """
    A fault with a stable name.

    Args:
        reason: UPPER_SNAKE_CASE, for clients to match on. Never changes once
            released; listed in `docs/errors.md`.
        message: One sentence for a developer: what is wrong, what to do.
        metadata: Every changing value in *message*, so nobody parses prose.

    """

    def __init__(self, reason: str, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.metadata = metadata


class InvalidInput(MeshError):
    """
    The request can never succeed as it stands.

    Args:
        field_violations: Path of each bad field, such as `notification.subject`,
            to what is wrong with it.

    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        field_violations: Mapping[str, str] | None = None,
        **metadata: str,
    ) -> None:
        super().__init__(reason, message, **metadata)
        self.field_violations = dict(field_violations or {})


class Unauthenticated(MeshError):
    """Who is calling is not proven."""


class PermissionDenied(MeshError):
    """The caller is known and may not do this."""


class NotFound(MeshError):
    """The named resource does not exist, or the caller may not know that it does."""


class AlreadyExists(MeshError):
    """The name is taken."""


class FailedPrecondition(MeshError):
    """The system's state forbids it; the same call can succeed after a change."""


class Conflict(MeshError):
    """Someone else changed the resource first: re-read it, then try again."""


class _RetryLater(MeshError):
    def __init__(
        self,
        reason: str,
        message: str,
        *,
        retry_after: timedelta = timedelta(seconds=1),
        **metadata: str,
    ) -> None:
        super().__init__(reason, message, **metadata)
        self.retry_after = retry_after


class Overloaded(_RetryLater):
    """A bound is reached. The call had no effect; try again after `retry_after`."""


class Unavailable(_RetryLater):
    """A part this needs is away. Try again after `retry_after`; use a `request_id`."""
