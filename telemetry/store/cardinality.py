"""How many series and label values there are of what."""

# ruff: noqa: S608 - every value in the SQL is a number or goes through `quote`

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from telemetry.store.engine import quote
from telemetry.store.sessions import READ_BOUNDS


if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.store.sessions import Sessions


class Count(NamedTuple):
    """A number of something."""

    name: str
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cardinality:
    """What there is most of, the largest first."""

    pairs: int
    """Different pairs of label and value."""

    series_by_metric: Sequence[Count]
    values_by_label: Sequence[Count]
    bytes_by_label: Sequence[Count]
    """Length of all different values."""

    series_by_pair: Sequence[Count]
    """By `label=value`."""


async def read(sessions: Sessions, top: int, *, tenant: str = "") -> Cardinality:
    """
    Return the *top* of each count, of all series ever seen.

    Raises:
        Unavailable: STORE_FAILED: The store can't answer.

    """
    of_tenant = f"FROM series WHERE tenant = {quote(tenant)}"
    pairs = (
        "(SELECT label, value, uniqExact(toString(labels)) AS series FROM series"
        " ARRAY JOIN mapKeys(labels) AS label, mapValues(labels) AS value"
        f" WHERE tenant = {quote(tenant)} GROUP BY label, value)"
    )
    end = f"ORDER BY 2 DESC, 1 LIMIT {top}"

    async def counts(sql: str) -> list[Count]:
        answer = await sessions.query(sql, "JSONCompactEachRow", READ_BOUNDS)
        rows = [json.loads(line) for line in answer.splitlines()]
        return [Count(str(name), int(value)) for name, value in rows]

    return Cardinality(
        pairs=(await counts(f"SELECT '', count() FROM {pairs}"))[0].value,
        series_by_metric=await counts(
            f"SELECT name, uniqExact(toString(labels)) {of_tenant} GROUP BY name {end}"
        ),
        values_by_label=await counts(f"SELECT label, count() FROM {pairs} GROUP BY label {end}"),
        bytes_by_label=await counts(
            f"SELECT label, sum(length(value)) FROM {pairs} GROUP BY label {end}"
        ),
        series_by_pair=await counts(f"SELECT concat(label, '=', value), series FROM {pairs} {end}"),
    )
