"""What requests have in common: whose data, which time, which page, how large an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from meshkit import authz
from meshkit.errors import InvalidInput


if TYPE_CHECKING:
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp

    _M = TypeVar("_M", bound=Message)

ANSWER_BYTES_MAX = 4_000_000
"""Largest answer: a little less than what gRPC's clients take unless told otherwise."""

_HOUR_NS = 3_600 * 10**9
_TIME_NS_MAX = (1 << 63) - 1


class OfTime(Protocol):
    """A request about a window of time."""

    def HasField(self, name: Any, /) -> bool: ...  # noqa: N802 - protobuf's name

    @property
    def start_time(self) -> Timestamp: ...
    @property
    def end_time(self) -> Timestamp: ...


def asked_times(request: OfTime, now_ns: int) -> tuple[int, int]:
    """
    Return the window in Unix nanoseconds; the last hour where it says nothing.

    Raises:
        InvalidInput: INVALID_FIELD: it ends before it starts.

    """
    end_ns = ns(request.end_time) if request.HasField("end_time") else now_ns
    start_ns = ns(request.start_time) if request.HasField("start_time") else end_ns - _HOUR_NS
    if start_ns > end_ns:
        raise bad("start_time", "must not be after end_time")
    return max(0, start_ns), end_ns


def ns(at: Timestamp) -> int:
    """Return *at* in Unix nanoseconds, as near as the store's times can be."""
    return max(0, min(at.ToNanoseconds(), _TIME_NS_MAX))


def question_of(request: Message) -> bytes:
    """Return what a page token of *request* is bound to: all of it but the token."""
    asked = type(request)()
    asked.CopyFrom(request)
    asked.ClearField("page_token")
    return asked.SerializeToString(deterministic=True)


def tenant_of(asked: str) -> str:
    """
    Return whose data is asked for: the caller's own unless it says otherwise.

    Raises:
        PermissionDenied: The caller may not ask for that tenant's.

    """
    caller = authz.current_caller()
    tenant = asked or caller.tenant
    caller.check_tenant(tenant)
    return tenant


def fitting(answer: _M) -> _M:
    """
    Return *answer* if a message may be as large.

    Raises:
        InvalidInput: ANSWER_TOO_LARGE.

    """
    if answer.ByteSize() > ANSWER_BYTES_MAX:
        raise too_large()
    return answer


def too_large() -> InvalidInput:
    """Return the refusal of an answer that is larger than a message may be."""
    return InvalidInput(
        "ANSWER_TOO_LARGE",
        "The answer is larger than a message may be; ask for less.",
        answer_bytes_max=str(ANSWER_BYTES_MAX),
    )


def bad(name: str, why: str) -> InvalidInput:
    """Return the refusal of a request for its field *name*."""
    return InvalidInput(
        "INVALID_FIELD", f"{name}: {why}.", field_violations={name: why}, field=name
    )
