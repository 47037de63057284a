"""
What Envoy's quota filter does otherwise than the contract says, and what is done about it.

Found in Envoy 1.40. Those that would hurt most have a test against the real Envoy, which also fails
when the quirk is gone: `tests/contract/limits/test_envoy_quirks.py`.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any, Final


REPORTING_INTERVAL: Final = timedelta(seconds=5)
"""Envoy reports each 5 s whatever it is told (envoy#46033): so it is told 5 s."""

TTL_S: Final = 20
ASSIGNMENT_TTL: Final = timedelta(seconds=TTL_S)
"""An assignment without a lifetime ends at once. Three reports may be lost; whole seconds, since
the rest is cut off."""

EXPIRED_FOR: Final = timedelta(days=365)
"""How long the fallback after a lost assignment holds. At its end a bucket is as if it never had
one, and then only a blanket rule may hold: a token bucket there crashes Envoy at the second call
(a null pointer). So the end is put far away."""

EXACT_ENOUGH: Final = 50
"""Tokens of a fill that make a whole number of them exact to 2 %."""

_SECONDS_MAX = 10**9

Strategy = dict[str, Any]
"""A `RateLimitStrategy`, as `make` takes it."""


ALLOW: Final[Strategy] = {"blanket_rule": "ALLOW_ALL"}
"""What an edge has for a quota in shadow mode: the filter's `filter_enforced` isn't heeded, so the
gateway itself counts what would have been refused."""

DENY: Final[Strategy] = {"blanket_rule": "DENY_ALL"}


def strategy(rate: float, burst: float) -> Strategy:
    """
    Return how an edge lets *rate* calls a second through, *burst* at once.

    `requests_per_time_unit` isn't supported: what was assigned before would stay.
    """
    if rate <= 0:
        return DENY
    return {"token_bucket": token_bucket(rate, burst)}


def token_bucket(rate: float, burst: float) -> dict[str, Any]:
    """
    Return a `TokenBucket` of *rate* tokens a second, above 0, as Envoy understands it.

    A fill of less than a second is no limit at all to Envoy, and of a fill's length only whole
    seconds count. So they are whole, and so many that whole tokens come to at most *rate* and to
    2 % less at the least. Envoy fills it steadily, not at once when the interval ends.
    """
    seconds = max(1, min(_SECONDS_MAX, math.ceil(EXACT_ENOUGH / rate)))
    return {
        "max_tokens": max(1, math.floor(burst)),
        "tokens_per_fill": {"value": max(1, math.floor(rate * seconds))},
        "fill_interval": timedelta(seconds=seconds),
    }


def told_apart(new: Strategy, old: Strategy | None) -> Strategy:
    """
    Return *new* so that Envoy sees that it isn't *old*.

    It compares buckets without the seconds of their fill interval: one that differs in nothing
    else is ignored. Then the burst is a token more or less.
    """
    after = new.get("token_bucket")
    before = (old or {}).get("token_bucket")
    if after is None or before is None:
        return new
    if after["tokens_per_fill"] != before["tokens_per_fill"]:
        return new
    difference = after["max_tokens"] - before["max_tokens"]
    if after["fill_interval"] == before["fill_interval"]:
        # What was changed for its own sake stays so: each change fills the bucket anew.
        return old or new if abs(difference) == 1 else new
    if difference:
        return new
    burst = after["max_tokens"]
    return {"token_bucket": {**after, "max_tokens": burst - 1 if burst > 1 else burst + 1}}
