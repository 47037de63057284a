"""The one place where errors become gRPC statuses, and back (AIP-193)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from meshkit import errors


if TYPE_CHECKING:
    from google.protobuf.message import Message

ERROR_DOMAIN = "aerofusion"

CODES: dict[type[errors.MeshError], grpc.StatusCode] = {
    errors.InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Conflict: grpc.StatusCode.ABORTED,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
}
_KINDS = {code: kind for kind, code in CODES.items()}


def code_of(error: errors.MeshError) -> grpc.StatusCode:
    """Return the code of *error*'s kind, or of the kind it is a special case of."""
    return next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)


def to_status(error: errors.MeshError) -> status_pb2.Status:
    """Return the status that tells a client of *error*, with google.rpc details."""
    status = status_pb2.Status(code=code_of(error).value[0], message=str(error))
    _attach(
        status,
        error_details_pb2.ErrorInfo(
            reason=error.reason, domain=ERROR_DOMAIN, metadata=error.metadata
        ),
    )
    if isinstance(error, errors.InvalidInput) and error.field_violations:
        bad = error_details_pb2.BadRequest()
        for field, description in error.field_violations.items():
            bad.field_violations.add(field=field, description=description)
        _attach(status, bad)
    if isinstance(error, errors.Overloaded | errors.Unavailable):
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(error.retry_after)
        _attach(status, retry)
    return status


def from_rpc_error(error: grpc.RpcError) -> errors.MeshError | None:
    """
    Return what *error* says in our own terms, for a client of one of our services.

    None if it carries no `ErrorInfo` of ours and its code says nothing about
    fixing or waiting either. A bare `UNAVAILABLE` becomes `Unavailable` with the
    reason `PEER_UNAVAILABLE`.
    """
    code = error.code()
    info, retry, bad = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.RetryInfo(),
        error_details_pb2.BadRequest(),
    )
    try:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
    except ValueError:  # The trailer disagrees with the code: a proxy rewrote one of them.
        status = None
    for detail in status.details if status is not None else ():
        for message in (info, retry, bad):
            detail.Unpack(message)
    kind = _KINDS.get(code)
    if kind is None:
        return None
    if not info.reason:
        if kind is not errors.Unavailable:
            return None
        return errors.Unavailable("PEER_UNAVAILABLE", error.details() or "The peer is away.")
    message, metadata = error.details() or "", dict(info.metadata)
    if kind is errors.InvalidInput:
        violations = {v.field: v.description for v in bad.field_violations}
        return errors.InvalidInput(info.reason, message, field_violations=violations, **metadata)
    made = kind(info.reason, message, **metadata)
    if isinstance(made, errors.Overloaded | errors.Unavailable) and retry.HasField("retry_delay"):
        made.retry_after = retry.retry_delay.ToTimedelta()
    return made


def _attach(status: status_pb2.Status, detail: Message) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)
