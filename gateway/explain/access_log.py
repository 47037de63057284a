"""
The edge's access log, read back into the request it tells of.

A record in JSON as telemetry shows it (`attributes` beside `time`), as OTLP's JSON, or flat;
or the one line of text that is a record's body. See `gateway.compile.access_logs`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gateway.explain.call import Body, Call
from gateway.explain.envoy_words import meanings
from gateway.explain.steps import Answer, Explanation
from meshkit.errors import InvalidInput


LINE_LENGTH_MAX = 16 * 1024

_BODY = re.compile(r"(?P<method>[A-Z]+) (?P<path>/\S*) (?P<status>\d{1,3}|-) (?P<grpc>\S+)")
_TIMES = ("time", "timestamp", "time_unix_nano", "timeUnixNano", "observedTimeUnixNano")
_GRPC_CODES = (
    *("OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound"),
    *("AlreadyExists", "PermissionDenied", "ResourceExhausted", "FailedPrecondition"),
    *("Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable", "DataLoss"),
    "Unauthenticated",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """What a record says."""

    call: Call
    time: datetime | None
    http_status: int
    grpc_status: int | None
    flags: str
    details: str
    cluster: str
    route: str

    def differences(self, explanation: Explanation) -> list[str]:
        """Return where the record differs from what is expected, a sentence each."""
        expected = explanation.answer
        found = []
        if expected.by == "nobody":
            found.append("What to expect isn't known; see the steps.")
        elif expected.by == "edge" and self.details == "via_upstream":
            found.append(f"A service answered, where the edge was to answer {_said(expected)}.")
        elif expected.by == "service" and self.details not in ("", "-", "via_upstream"):
            found.append(f"The edge answered ({self.details}), where a service was to answer.")
        elif expected.http_status not in (None, self.http_status):
            found.append(f"It was answered {self.http_status}, not {expected.http_status}.")
        elif self.grpc_status is not None and expected.grpc_status not in (None, self.grpc_status):
            found.append(f"It was answered gRPC {self.grpc_status}, not {expected.grpc_status}.")
        expected_route = explanation.route
        if self.route not in ("", "-", expected_route):
            found.append(
                f"It took the route {self.route}, not {expected_route or 'one by default'}."
            )
        candidates = {one.cluster for one in explanation.clusters}
        if self.cluster not in ("", "-") and candidates and self.cluster not in candidates:
            found.append(f"It went to {self.cluster}, not {' or '.join(sorted(candidates))}.")
        return found

    def meanings(self) -> list[str]:
        """Return what its flags and details mean."""
        return list(meanings(self.flags, self.details))


def _said(answer: Answer) -> str:
    grpc = "" if answer.grpc_status is None else f", gRPC {answer.grpc_status}"
    return f"{answer.http_status}{grpc}"


def parse(line: str) -> Logged:
    """
    Return what an access log's record says.

    Raises:
        InvalidInput: LOG_LINE_UNREADABLE.

    """
    text = line.strip()
    if len(text) > LINE_LENGTH_MAX:
        raise _unreadable("it is longer than 16 KiB")
    if text.startswith("{"):
        try:
            record = json.loads(text)
        except (ValueError, RecursionError):
            raise _unreadable("it isn't JSON") from None
        values = _flat(record)
    else:
        found = _BODY.search(text)
        if found is None:
            raise _unreadable("it has no method, path and status")
        values = {
            "http.request.method": found["method"],
            "url.path": found["path"],
            "http.response.status_code": found["status"],
            "rpc.grpc.status": found["grpc"],
        }
    path = values.get("url.path", "")
    if not path.startswith("/"):
        raise _unreadable("it has no url.path")
    return Logged(
        call=_call(values, path),
        time=_time(values),
        http_status=_number(values.get("http.response.status_code", "")) or 0,
        grpc_status=_grpc(values.get("rpc.grpc.status", "")),
        flags=values.get("flags", ""),
        details=values.get("details", ""),
        cluster=values.get("cluster", ""),
        route=values.get("route", ""),
    )


def _call(values: Mapping[str, str], path: str) -> Call:
    headers = [("user-agent", values["user_agent"])] if values.get("user_agent", "-") != "-" else []
    kind = values.get("content_type", "-")
    # What the transcoder made into a gRPC call keeps its path in the log, and a gRPC path has a
    # full name first.
    named = "." in path.split("/")[1]
    grpc = named and (
        kind.startswith("application/grpc")
        or (kind == "-" and _grpc(values.get("rpc.grpc.status", "")) is not None)
    )
    if kind != "-" and (grpc or not kind.startswith("application/grpc")):
        headers.append(("content-type", kind))
    other = Body.NONE if values.get("request_bytes", "0") == "0" else Body.OTHER
    return Call(
        method=values.get("http.request.method", "POST"),
        path=path,
        host=_or(values.get("host"), "localhost"),
        server_name=_or(values.get("server_name"), ""),
        remote_address=_or(values.get("client.address"), "127.0.0.1"),
        headers=tuple(headers),
        body=Body.GRPC if grpc else other,
        claims=_claims(values),
        partial_claims=True,
    )


def _claims(values: Mapping[str, str]) -> Mapping[str, Any] | None:
    """Return the claims that are told of; None: no good token was there."""
    subject = values.get("subject", "-")
    if subject in ("", "-"):
        subject = values.get("foreign_subject", "-")
    if subject in ("", "-"):
        return None
    claims: dict[str, Any] = {"sub": subject}
    for name in ("tenant", "issuer"):
        value = values.get(name, "-")
        if value not in ("", "-"):
            claims["iss" if name == "issuer" else name] = value
    roles = values.get("roles", "-")
    if roles.startswith("["):
        claims["roles"] = json.loads(roles)
    return claims


def _flat(record: Any) -> dict[str, str]:
    """Return the attributes of a record, and its time, as text."""
    if not isinstance(record, dict):
        raise _unreadable("it is no JSON object")
    attributes = record.get("attributes", record)
    found: dict[str, str] = {}
    if isinstance(attributes, list):  # OTLP's JSON
        for one in attributes:
            value = one.get("value", {})
            found[str(one.get("key"))] = str(
                next(iter(value.values()), "") if isinstance(value, dict) else value
            )
    elif isinstance(attributes, dict):
        found = {
            str(key): json.dumps(value) if isinstance(value, list) else str(value)
            for key, value in attributes.items()
        }
    for name in _TIMES:
        if name in record:
            found["time"] = str(record[name])
            break
    return found


def _time(values: Mapping[str, str]) -> datetime | None:
    text = values.get("time", "")
    try:
        if text.isdecimal():
            nanoseconds = int(text) if len(text) > 12 else int(text) * 10**9
            return datetime.fromtimestamp(nanoseconds / 1e9, UTC)
        made = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        return None
    return made if made.tzinfo else made.replace(tzinfo=UTC)


def _grpc(text: str) -> int | None:
    if text in _GRPC_CODES:
        return _GRPC_CODES.index(text)
    return _number(text)


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _or(value: str | None, otherwise: str) -> str:
    return value if value not in (None, "", "-") else otherwise


def _unreadable(why: str) -> InvalidInput:
    return InvalidInput(
        "LOG_LINE_UNREADABLE",
        f"This is no record of the edge's access log: {why}.",
        field_violations={"log_line": why},
    )
