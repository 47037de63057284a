"""How an attempt ended. Expected faults are values: what follows is the caller's decision."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from notifier.model import Reason


@dataclass(frozen=True, slots=True)
class Delivered:
    """The channel took responsibility for the message."""

    receipt: str
    """What the provider recognises it by."""


@dataclass(frozen=True, slots=True)
class RetryLater:
    """A passing fault, and the message was not handed over. Try again no sooner than *after*."""

    reason: Reason
    detail: str = ""
    after: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Refused:
    """A lasting fault, such as a dead address. Trying again is pointless."""

    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Dropped:
    """Not handed over on purpose: too late, or superseded."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """The message was handed over, and whether the provider has it is unknown."""

    reason: Reason
    detail: str = ""


Outcome = Delivered | RetryLater | Refused | Dropped | Unconfirmed
