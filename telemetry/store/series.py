"""
Which series some matchers mean, and what their labels are.

What a series is called never changes, so the labels of those that were selected before are
remembered, and only their keys are asked for: labels are most of what an answer would hold. Those
that aren't known are read in columns, ten thousand at once.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from meshkit.errors import InvalidInput
from telemetry.store.engine import quote
from telemetry.store.model import Matcher, MatchOp, Series


if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from telemetry.store.model import Limits
    from telemetry.store.sessions import Sessions

    Pair = tuple[str, str]
    Labels = tuple[Pair, ...]
    Key = tuple[int, int]

SERIES_MAX = 200_000
"""Most series one selection may return."""

_IDS_MAX = 5 * SERIES_MAX
"""Most ids that are read to find them: several may have equal labels."""

REMEMBERED_MAX = 100_000
"""Series whose labels are remembered, some hundred bytes each; first learnt, first forgotten."""

_KEY = np.dtype([("metric", "<u8"), ("series", "<u8")])


class Selecting:
    """Selects series of one store. On one event loop."""

    def __init__(self, sessions: Sessions, *, remembered_max: int = REMEMBERED_MAX) -> None:
        self._sessions = sessions
        self._remembered_max = remembered_max
        self._known: dict[Key, Series] = {}
        self._pairs: dict[Pair, Pair] = {}
        """Each label once, however many series have it."""

    async def select(
        self, matchers: Sequence[Matcher], *, tenant: str, bounds: Limits
    ) -> list[Series]:
        """
        Return the series that all *matchers* match, ids of equal labels joined, by rising keys.

        Raises:
            InvalidInput: `QUERY_TOO_EXPENSIVE`, `BAD_REGEX`.
            Unavailable: `STORE_FAILED`, `STORE_AWAY`.

        """
        found = f"FROM series WHERE {where(matchers, tenant)}"
        keys = await self._keys(found, bounds)
        known = [self._known.get(key) for key in keys]
        if None in known:
            told = await self._told(found, bounds)
            self._remember(told)
            # What came between both questions is found the next time.
            known = [told.get(key) for key in keys]
        joined: dict[Labels, list[Series]] = {}
        for one in known:
            if one is not None:
                joined.setdefault(one.labels, []).append(one)
        if len(keys) > _IDS_MAX or len(joined) > SERIES_MAX:
            raise InvalidInput(
                "QUERY_TOO_EXPENSIVE",
                "The matchers select too many series; add one.",
                series_max=str(SERIES_MAX),
            )
        return [_one_of(alike) for alike in joined.values()]

    async def _keys(self, found: str, bounds: Limits) -> list[Key]:
        """Return the keys of the series, by rising metric and id."""
        answer = await self._sessions.query(
            f"SELECT DISTINCT metric, series_id {found}"
            f" ORDER BY metric, series_id LIMIT {_IDS_MAX + 1}",
            "RowBinary",
            bounds,
        )
        keys: list[Key] = np.frombuffer(answer, _KEY).tolist()
        return keys

    async def _told(self, found: str, bounds: Limits) -> dict[Key, Series]:
        """Return the series, each id by itself."""
        batches = await self._sessions.batches(
            "SELECT toString(kind) AS kind, metric, series_id,"
            # As JSON would have it: text that is none is never refused here.
            " arrayMap(one -> toValidUTF8(one), mapKeys(labels)) AS names,"
            f" arrayMap(one -> toValidUTF8(one), mapValues(labels)) AS texts {found}",
            bounds,
        )
        told = {}
        for batch in batches:
            kinds, metrics, ids = (
                batch.column(name).to_numpy(zero_copy_only=False).tolist()
                for name in ("kind", "metric", "series_id")
            )
            labels = _labels(batch.column("names"), batch.column("texts"), self._pairs)
            for kind, metric, one, name in zip(kinds, metrics, ids, labels, strict=True):
                told[metric, one] = Series(labels=name, kind=kind, keys=((metric, one),))
        return told

    def _remember(self, told: dict[Key, Series]) -> None:
        if len(self._known) + len(told) > self._remembered_max:
            newest = [*self._known.items(), *told.items()][-self._remembered_max :]
            self._known = dict(newest)
            self._pairs = {pair: pair for one in self._known.values() for pair in one.labels}
        else:
            self._known.update(told)


def _one_of(alike: list[Series]) -> Series:
    """Return the series of which *alike* are the ids: thousands, if its sender starts anew often."""
    if len(alike) == 1:
        return alike[0]
    return replace(alike[0], keys=tuple(key for one in alike for key in one.keys))


def _labels(names: pa.ListArray, texts: pa.ListArray, shared: dict[Pair, Pair]) -> list[Labels]:
    """Return the labels of each row, equal pairs as one object: most are of many series."""
    pairs = zip(
        names.flatten().to_numpy(zero_copy_only=False).tolist(),
        texts.flatten().to_numpy(zero_copy_only=False).tolist(),
        strict=True,
    )
    flat = [shared.setdefault(pair, pair) for pair in pairs]
    ends = names.offsets.to_numpy().tolist()
    return [tuple(sorted(flat[a:b])) for a, b in itertools.pairwise(ends)]


def where(matchers: Sequence[Matcher], tenant: str) -> str:
    """Return the SQL of what must hold of a series."""
    return " AND ".join([f"tenant = {quote(tenant)}", *map(_condition, matchers)])


def label_of(name: str) -> str:
    """Return the SQL of the value of a label; one that isn't there is empty."""
    return "name" if name == "__name__" else f"labels[{quote(name)}]"


def _condition(matcher: Matcher) -> str:
    column = label_of(matcher.label)
    match matcher.op:
        case MatchOp.EQUAL:
            return f"{column} = {quote(matcher.value)}"
        case MatchOp.NOT_EQUAL:
            return f"{column} != {quote(matcher.value)}"
        case MatchOp.REGEX:
            return f"match({column}, {quote(f'^(?s:{matcher.value})$')})"
        case MatchOp.NOT_REGEX:
            return f"NOT match({column}, {quote(f'^(?s:{matcher.value})$')})"
