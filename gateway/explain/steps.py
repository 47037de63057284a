"""What an explanation is made of: steps in their order, and the answer they come to."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any


class Verdict(enum.StrEnum):
    """What a step means for the request."""

    CHOSEN = "chosen"
    """It was selected among its like: a listener, a route, a cluster."""

    PASSED = "passed"
    """It looked, and lets the request go on."""

    CHANGED = "changed"
    """It lets the request go on, altered."""

    MISSED = "not found"
    """Nothing of the kind fits the request; what comes of that is decided later."""

    IDLE = "idle"
    """It isn't concerned with this request."""

    DEPENDS = "depends"
    """It lets the request go on unless a count that only the edge knows is used up."""

    SHADOW = "shadow"
    """It would have refused the request, but only counts."""

    ANSWERED = "answered"
    """It answers the request, and not as an error."""

    REFUSED = "refused"
    """It answers the request with an error."""

    NOT_MODELLED = "not modelled"
    """The evaluator doesn't know what Envoy does here."""


class NotModelled(Exception):
    """The configuration has something whose meaning isn't known here; the message says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One decision on the request's way."""

    stage: str
    """`listener`, `filter_chain`, `scope`, `virtual_host`, `route`, `filter`, `cluster`..."""

    name: str
    """Of the thing in Envoy's configuration."""

    verdict: Verdict
    says: str
    """One sentence for a person."""

    resource: tuple[str, str] = ("", "")
    """Type, as in `RDS`, and name of the xDS resource it stands in."""

    object: str = ""
    """The catalog object that decided; empty: the edge's own settings."""

    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the caller can expect."""

    http_status: int | None
    """None: it isn't known, or there is none since the connection is closed."""

    grpc_status: int | None = None
    """None: no gRPC answer, or whatever the service says."""

    by: str = "edge"
    """`edge`, `service`, or `nobody` where the evaluator gave up."""

    details: str = ""
    """RESPONSE_CODE_DETAILS in the access log; empty: not predicted."""

    flags: str = ""
    """RESPONSE_FLAGS in the access log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A cluster the request may go to."""

    cluster: str
    share: float
    """0 to 1."""

    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointCandidate:
    """An address of the cluster."""

    address: str
    health: str
    weight: int
    locality: str
    priority: int
    eligible: bool
    """Whether it gets calls, as far as the control plane knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """All of it."""

    steps: tuple[Step, ...]
    answer: Answer
    route: str = ""
    """Name of the route; empty: it has none."""

    grpc_method: str = ""
    """`package.Service/Method`; empty: it is no gRPC call."""

    path: str = ""
    """The path as the services see it."""

    clusters: tuple[Candidate, ...] = ()
    endpoints: tuple[EndpointCandidate, ...] = ()
    certain: bool = True
    """False: a step is not modelled, and the answer may be another."""


def only(message: Any, *known: str) -> None:
    """
    Refuse a *message* with other fields set than those *known*.

    Raises:
        NotModelled: It has one.

    """
    for field, _ in message.ListFields():
        if field.name not in known:
            raise NotModelled(f"{message.DESCRIPTOR.name}.{field.name}")


def kind_of(message: Any, oneof: str, *known: str) -> str:
    """
    Return which field of *oneof* is set; "" for none.

    Raises:
        NotModelled: One that isn't *known*.

    """
    found: str = message.WhichOneof(oneof) or ""
    if found and found not in known:
        raise NotModelled(f"{message.DESCRIPTOR.name}.{found}")
    return found
