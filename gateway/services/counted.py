"""What each edge's Envoy counts, asked of telemetry."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.telemetry import Unheard
from meshkit.errors import Unavailable


if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.telemetry import Telemetry

ASK_WITHIN_S: Final = 6.0
"""People wait longer than a canary does."""

_EDGE: Final = "edge/"
"""What the identity of an edge begins with."""


class Counter(NamedTuple):
    """One of Envoy's counters."""

    edge: str
    """The edge's identity, such as `edge/0`."""

    name: str
    """As PromQL knows it."""

    labels: dict[str, str]
    value: int


async def counters(telemetry: Telemetry, names: str) -> Iterator[Counter]:
    """
    Return the newest of counters whose names match a regular expression.

    Raises:
        Unavailable: TELEMETRY_AWAY.

    """
    try:
        query = f'{{__name__=~"{names}"}}'
        found = await telemetry.at(query, time.time(), within_s=ASK_WITHIN_S)
    except Unheard as error:
        raise away(error) from None
    return (_counter(dict(labels), value) for labels, value in found.items())


def away(error: Unheard) -> Unavailable:
    """Return what to tell of telemetry that can't be asked."""
    return Unavailable(
        "TELEMETRY_AWAY", f"What edges tell is in telemetry, which can't be asked: {error}."
    )


def _counter(labels: dict[str, str], value: float) -> Counter:
    return Counter(_EDGE + labels.get("instance", ""), labels["__name__"], labels, int(value))
