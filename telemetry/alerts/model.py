"""Marks on alerts, and silences. Times are Unix milliseconds; 0: not yet, or not at all."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshkit.errors import InvalidInput
from telemetry.promql.limits import QueryLimits
from telemetry.promql.matchers import Matcher, matches, selected
from telemetry.promql.parse import parse_selector


if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.promql.labels import Labels
    from telemetry.promql.matchers import Selection
    from telemetry.rules.states import Alert

COMMENT_CHARS_MAX = 1_000
MATCHERS_MAX = 20
SILENCE_MS_MAX = 366 * 86_400_000
SILENCES_MAX = 10_000
SILENCE_KEPT_MS = 86_400_000
"""How long a silence is listed after its end."""

_LIMITS = QueryLimits(text_bytes_max=16_384)


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """Somebody has taken an alert on."""

    actor: str
    at_ms: int
    comment: str
    fired_ms: int
    """Of the firing that was taken on: the next one is another matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """When each step was done."""

    event_ms: int = 0
    ingested_ms: int = 0
    evaluated_ms: int = 0
    sent_ms: int = 0
    delivered_ms: int = 0
    route: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What is known of an alert besides what its rule says."""

    acknowledgement: Acknowledgement | None = None
    receipt: Receipt = Receipt()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An alert as it stands."""

    id: str
    tenant: str
    group: str
    rule: str
    alert: Alert
    marks: Marks


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Holds notifications of some alerts back for a time."""

    id: str
    matchers: tuple[str, ...]
    start_ms: int
    end_ms: int
    comment: str
    creator: str
    etag: str
    created_ms: int
    updated_ms: int


def alert_id(tenant: str, group: str, rule: str, labels: Labels) -> str:
    """Return an alert's id: always the same for the same rule and labels."""
    identity = json.dumps([tenant, group, rule, labels], ensure_ascii=False)
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def selection_of(texts: Sequence[str]) -> Selection:
    """
    Return what matchers such as `job="edge"` select together.

    Raises:
        InvalidInput: INVALID_MATCHER: One can't be read.

    """
    return (tuple(_matcher(text) for text in texts),)


def _matcher(text: str) -> Matcher:
    try:
        # A selector must not match everything, a single matcher may.
        (group,) = parse_selector(f'{{__guard__="1",{text}}}', _LIMITS)
        _, matcher = group
    except (InvalidInput, ValueError):
        raise InvalidInput(
            "INVALID_MATCHER",
            f'{text[:100]!r} is no matcher such as job="edge".',
            matcher=text[:100],
        ) from None
    return matcher


def matches_absence(matcher: Matcher) -> bool:
    """Whether a series without the label matches."""
    return bool(matches([""], matcher)[0])


def matching(alerts: Sequence[Labels], selection: Selection) -> list[bool]:
    """Return which label sets *selection* matches."""
    found: list[bool] = selected(alerts, selection).tolist()
    return found
