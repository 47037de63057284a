"""What a ScaledObject says of its trigger, read and checked."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshkit.errors import InvalidInput


if TYPE_CHECKING:
    from collections.abc import Mapping

AHEAD_MS, AHEAD_MS_MAX = 600_000, 86_400_000
HISTORY_MS, HISTORY_MS_MAX = 7 * 86_400_000, 90 * 86_400_000
QUANTILE = 0.9
SEASONS_MAX = 3

_LENGTH = re.compile(r"(\d+)(s|m|h|d|w)")
_UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_KNOWN = frozenset(
    {
        *("query", "target", "activation", "ahead", "history", "quantile", "seasons", "tenant"),
        # KEDA's own, which it passes on
        *("scalerAddress", "caCert", "tlsCertFile", "tlsClientCert", "tlsClientKey"),
        *("unsafeSsl", "enableTLS"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """What to forecast, and how much of it one replica takes."""

    query: str
    """PromQL; where it finds several series, they are added up."""

    target: float
    activation: float = 0.0
    """At or below it no replica is needed at all."""

    ahead_ms: int = AHEAD_MS
    history_ms: int = HISTORY_MS
    quantile: float = QUANTILE
    seasons_ms: tuple[int, ...] | None = None
    """None: they are found."""

    tenant: str = ""


def read_trigger(metadata: Mapping[str, str]) -> Trigger:
    """
    Read a trigger's metadata.

    Raises:
        InvalidInput: INVALID_TRIGGER, with every field that is wrong.

    """
    wrong: dict[str, str] = dict.fromkeys(sorted(set(metadata) - _KNOWN), "is not known")
    query = metadata.get("query", "")
    if not query:
        wrong["query"] = "required: PromQL"
    target = _number(metadata, "target", math.nan, wrong)
    if "target" not in wrong and not target > 0:
        wrong["target"] = "required: a number above 0"
    quantile = _number(metadata, "quantile", QUANTILE, wrong)
    if "quantile" not in wrong and not 0 < quantile < 1:
        wrong["quantile"] = "must lie between 0 and 1"
    trigger = Trigger(
        query=query,
        target=target,
        activation=_number(metadata, "activation", 0.0, wrong),
        ahead_ms=_length(metadata, "ahead", AHEAD_MS, AHEAD_MS_MAX, wrong),
        history_ms=_length(metadata, "history", HISTORY_MS, HISTORY_MS_MAX, wrong),
        quantile=quantile,
        seasons_ms=_seasons(metadata.get("seasons", ""), wrong),
        tenant=metadata.get("tenant", ""),
    )
    if wrong:
        told = "; ".join(f"{name}: {what}" for name, what in wrong.items())
        raise InvalidInput(
            "INVALID_TRIGGER", f"The trigger can't be read: {told}.", field_violations=wrong
        )
    return trigger


def _number(metadata: Mapping[str, str], name: str, default: float, wrong: dict[str, str]) -> float:
    text = metadata.get(name, "")
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        wrong[name] = "must be a number"
    return number


def _length(
    metadata: Mapping[str, str], name: str, default: int, most: int, wrong: dict[str, str]
) -> int:
    text = metadata.get(name, "")
    length = _ms(text) if text else default
    if length is None or not 60_000 <= length <= most:
        wrong[name] = f"must be a duration such as 10m, 1m to {most // 86_400_000}d"
        return default
    return length


def _seasons(text: str, wrong: dict[str, str]) -> tuple[int, ...] | None:
    if not text:
        return None
    lengths = [_ms(part.strip()) for part in text.split(",")]
    if len(lengths) > SEASONS_MAX or not all(lengths):
        wrong["seasons"] = f"must be at most {SEASONS_MAX} durations such as 24h,168h"
        return None
    return tuple(sorted({length for length in lengths if length}))


def _ms(text: str) -> int | None:
    found = _LENGTH.fullmatch(text)
    return int(found[1]) * _UNITS_MS[found[2]] if found else None
