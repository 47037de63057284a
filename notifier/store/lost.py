"""Lost connections, told as `Unavailable`."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg

from meshkit import postgres
from meshkit.errors import Unavailable


if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def unavailable_on_lost_connection() -> Iterator[None]:
    """
    As meshkit's, and for the fault that asyncpg takes for its own.

    When the server dies between a statement's request and its answer, asyncpg's next
    statement on that connection (a COMMIT, the pool's reset) finds its protocol in
    the middle of the first and raises `InternalClientError`.
    """
    try:
        with postgres.unavailable_on_lost_connection():
            yield
    except asyncpg.InternalClientError as error:
        raise Unavailable(
            "POSTGRES_UNAVAILABLE",
            "The database is away; repeat the call with the same request_id.",
            retry_after=timedelta(seconds=1),
        ) from error
