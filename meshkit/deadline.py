"""Deadlines are handed on: an onward call never outlives the call it serves."""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from datetime import timedelta

    import grpc


def remaining(context: grpc.aio.ServicerContext[object, object], at_most: timedelta) -> float:
    """
    Return the seconds an onward call made for *context*'s call may take.

    That is what the caller has left, and never more than *at_most*; 0 if it is over.
    """
    left = context.time_remaining()
    bound = at_most.total_seconds()
    return bound if left is None else max(0.0, min(left, bound))
