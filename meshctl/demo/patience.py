"""
What to do about a call that failed: wait and repeat, or give up. Pure.

Every call of the demo may be repeated: it carries a request id, or a mutation number, or sets what
it says. So a call whose fate is unknown is simply made again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from grpc import StatusCode

from meshkit.errors import MeshError, Overloaded, Unavailable


FIRST_WAIT = timedelta(milliseconds=100)
WAIT_MAX = timedelta(seconds=3)
DOUBTFUL_ATTEMPTS_MAX = 5
"""How often to try a call whose failure looks like a bug on the other side."""

_PASSING = frozenset(
    {
        StatusCode.UNAVAILABLE,
        StatusCode.RESOURCE_EXHAUSTED,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.CANCELLED,  # The server was stopped under the call.
        StatusCode.UNAUTHENTICATED,  # The token has expired; a fresh one is on its way.
        StatusCode.UNIMPLEMENTED,  # The edge knows no route yet.
    }
)
_DOUBTFUL = frozenset({StatusCode.ABORTED, StatusCode.INTERNAL, StatusCode.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Wait:
    """Repeat the call after this."""

    span: timedelta


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Repeating it is of no use."""


def reaction(
    code: StatusCode, error: MeshError | None, *, attempt: int, chance: float
) -> Wait | GiveUp:
    """
    Decide about a failed call.

    Args:
        code: Its status.
        error: What its details say, if they say anything.
        attempt: How often it was made, this time included.
        chance: In [0, 1); spreads callers that failed together.

    """
    if code in _DOUBTFUL and attempt >= DOUBTFUL_ATTEMPTS_MAX:
        return GiveUp()
    if code not in _PASSING | _DOUBTFUL:
        return GiveUp()
    backoff = min(FIRST_WAIT * 2 ** min(attempt - 1, 10), WAIT_MAX)
    asked = timedelta(0)
    if isinstance(error, Overloaded | Unavailable):
        asked = error.retry_after if code is StatusCode.RESOURCE_EXHAUSTED else timedelta(0)
    # Between half and all of the backoff, and never less than we were asked to wait.
    return Wait(max(backoff * (0.5 + chance / 2), asked))
