"""Lost connections, told as `Unavailable`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import asyncpg

from meshkit import postgres


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
    with postgres.unavailable_on_lost_connection():
        try:
            yield
        except asyncpg.InternalClientError as error:
            raise asyncpg.InterfaceError(str(error)) from error
