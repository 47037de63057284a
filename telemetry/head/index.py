"""
Which series there are in the head, by their labels.

Entries are numbered and only ever added, and an entry is complete before anything leads to it.
So any thread may read while one adds. Selections are kept: the next time only what came since
is looked at.
"""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql.matchers import MatchOp, selected


if TYPE_CHECKING:
    from numpy.typing import NDArray

    from telemetry.promql.labels import Labels
    from telemetry.promql.matchers import Selection

_Pair = tuple[str, str]

KEPT_MAX = 4_000_000
"""Series in all kept selections together; the ones unused for longest go first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What a selection means, as of `seen` candidates."""

    labels: list[Labels]
    slots: NDArray[np.int32]
    """The slots of all entries, one entry behind the other."""

    offsets: NDArray[np.int64]
    """Where each entry's slots begin, and the end."""

    entries: list[int]
    by: _Pair | None
    """The pair whose entries are the candidates; None: all of the tenant."""

    seen: int
    """How many candidates were looked at."""

    joined: int


class Index:
    """Labels to slots. `add` is called by one thread at a time, `choose` by any."""

    def __init__(self, *, kept_max: int = KEPT_MAX) -> None:
        self._labels: list[Labels] = []
        self._slots: list[tuple[int, ...]] = []
        self._first_keys: list[tuple[int, int]] = []
        self._joins: dict[int, list[tuple[tuple[int, int], int]]] = {}
        """Slots by their keys, of entries that have several."""

        self._entry_of: dict[tuple[str, Labels], int] = {}
        self._having: dict[tuple[str, str, str], array[int]] = {}
        self._of_tenant: dict[str, array[int]] = {}
        self._none: array[int] = array("i")
        self._pairs: dict[tuple[str, str], tuple[str, str]] = {}
        self._joined = 0
        """How often a slot was added to an entry that had one already."""

        self._kept: OrderedDict[tuple[str, Selection], Chosen] = OrderedDict()
        self._kept_size = 0
        self._kept_max = kept_max
        self._keeping = threading.Lock()

    def __len__(self) -> int:
        return len(self._labels)

    def add(self, tenant: str, labels: Labels, key: tuple[int, int], slot: int) -> None:
        """
        Have *slot* hold samples of the series *labels*.

        Args:
            key: Metric and id. Of samples with equal labels and times the greatest key's counts,
                as in the store.

        """
        entry = self._entry_of.get((tenant, labels))
        if entry is not None:
            first = (self._first_keys[entry], self._slots[entry][0])
            join = self._joins.setdefault(entry, [first])
            join.append((key, slot))
            join.sort()
            self._slots[entry] = tuple(slot for _, slot in join)
            self._joined += 1
            return
        labels = tuple(self._pairs.setdefault(pair, pair) for pair in labels)
        entry = len(self._labels)
        self._labels.append(labels)
        self._first_keys.append(key)
        self._slots.append((slot,))
        self._entry_of[tenant, labels] = entry
        for name, value in labels:
            having = self._having.get((tenant, name, value))
            if having is None:
                having = self._having[tenant, name, value] = array("i")
            having.append(entry)
        self._of_tenant.setdefault(tenant, array("i")).append(entry)

    def choose(self, tenant: str, selection: Selection) -> Chosen:
        """
        Return the series of *tenant* that *selection* means.

        Raises:
            InvalidInput: QUERY_INVALID: A regular expression is malformed.

        """
        key = (tenant, selection)
        kept = self._kept.get(key)
        joined = self._joined
        if kept is None or kept.joined != joined:
            chosen = self._look(tenant, selection, self._rarest(tenant, selection), joined)
        elif kept.seen == len(self._candidates(tenant, kept.by)):
            with self._keeping:
                if key in self._kept:
                    self._kept.move_to_end(key)
            return kept
        else:
            chosen = self._look(tenant, selection, kept.by, joined, kept)
        self._keep(key, chosen)
        return chosen

    def _look(
        self,
        tenant: str,
        selection: Selection,
        by: _Pair | None,
        joined: int,
        kept: Chosen | None = None,
    ) -> Chosen:
        seen = kept.seen if kept is not None else 0
        new = self._candidates(tenant, by)[seen:].tolist()
        fits = selected([self._labels[entry] for entry in new], selection)
        entries = list(kept.entries) if kept is not None else []
        entries += [entry for entry, fit in zip(new, fits.tolist(), strict=True) if fit]
        slots = [self._slots[entry] for entry in entries]
        offsets = np.zeros(len(slots) + 1, np.int64)
        np.cumsum([len(one) for one in slots], out=offsets[1:])
        return Chosen(
            labels=[self._labels[entry] for entry in entries],
            slots=np.fromiter((slot for one in slots for slot in one), np.int32),
            offsets=offsets,
            entries=entries,
            by=by,
            seen=seen + len(new),
            joined=joined,
        )

    def _candidates(self, tenant: str, by: _Pair | None) -> array[int]:
        if by is None:
            return self._of_tenant.get(tenant, self._none)
        return self._having.get((tenant, *by), self._none)

    def _rarest(self, tenant: str, selection: Selection) -> _Pair | None:
        """Return the pair that fewest series have, of those that every one meant has."""
        if len(selection) != 1:
            return None
        pairs = [(m.name, m.value) for m in selection[0] if m.op is MatchOp.EQUAL and m.value]
        return min(pairs, key=lambda pair: len(self._candidates(tenant, pair)), default=None)

    def _keep(self, key: tuple[str, Selection], chosen: Chosen) -> None:
        with self._keeping:
            old = self._kept.pop(key, None)
            self._kept[key] = chosen
            self._kept_size += _size(chosen) - (_size(old) if old is not None else 0)
            while self._kept_size > self._kept_max and len(self._kept) > 1:
                _, gone = self._kept.popitem(last=False)
                self._kept_size -= _size(gone)


def _size(chosen: Chosen) -> int:
    return 16 + len(chosen.entries)
