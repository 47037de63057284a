"""How often calls may come."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import timedelta

from gateway.model.access import CallScope


class Strength(enum.StrEnum):
    """How a limit is kept, from the cheapest to the most exact."""

    LOCAL = "local"
    """A bucket in each edge."""

    QUOTA = "quota"
    """Divided among the edges by demand (RLQS)."""

    STRICT = "strict"
    """Asked for with each call (RLS)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitKey:
    """What calls are counted by: exactly one is set, the booleans to True."""

    tenant: bool | None = None
    subject: bool | None = None
    api_key: bool | None = None
    remote_address: bool | None = None
    method: bool | None = None
    claim: str | None = None
    header: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How many calls in a while, for each value of its keys."""

    name: str
    """`limits/{limit}`."""

    description: str = ""
    strength: Strength
    scope: CallScope = CallScope()
    keys: tuple[LimitKey, ...] = ()
    """Empty: all calls in one."""

    requests: int
    interval: timedelta = timedelta(seconds=1)
    burst: int = 0
    """0: `requests`."""

    cost: int = 1
    shadow: bool = False

    @property
    def most_at_once(self) -> int:
        """The most calls at once after a pause."""
        return self.burst or self.requests
