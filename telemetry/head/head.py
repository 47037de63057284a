"""
The head: the newest samples of all series, from the moment they are acknowledged.

It answers for all times after its horizon: every sample later than that which anybody was told
is durable is here. What is earlier is in the store. Where memory runs out the horizon moves on,
and while something is missing it stands at `NEVER`: then everything is asked of the store.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import numpy as np

from telemetry.head import blocks, marks
from telemetry.head.index import Index
from telemetry.head.ranges import folded, make_ranges, newest, rates, without_stale
from telemetry.head.recent import NEVER, Recent, nothing
from telemetry.promql.errors import query_too_large
from telemetry.promql.labels import make
from telemetry.promql.matchers import equals
from telemetry.scan.sink import Kind


if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from telemetry.head.extract import Columns
    from telemetry.head.index import Chosen
    from telemetry.head.ranges import Ranges
    from telemetry.promql.labels import Labels
    from telemetry.promql.matchers import Selection
    from telemetry.scan.described import NewSeries

_FUTURE_MS = 600_000
"""How far ahead of its receipt a sample may be (`scan.points.FUTURE_NS`)."""

_SLOTS_FIRST = 1 << 12
_READ_SLOTS = 4_096
"""Series read under one hold of the lock: writers wait that long at most."""

_SWEEP_SLOTS = 50_000
_LOW = 16
"""A sweep begins when less than this fraction of the blocks is free, and frees twice that."""


class Head:
    """
    Samples in memory, bounded by bytes. `take` and `learn` are called on the event loop.

    Args:
        bytes_max: Memory of samples; at least a megabyte.

    """

    def __init__(self, bytes_max: int) -> None:
        self._arena = blocks.make_arena(max(64, bytes_max // blocks.BLOCK_BYTES))
        self._slots = blocks.make_slots(_SLOTS_FIRST)
        self._index = Index()
        self._lock = threading.Lock()
        self._horizon = NEVER
        self._start = NEVER
        """Where the horizon stands if nothing is missing."""

        self._missing_until = -NEVER
        self._nameless: set[int] = set()
        self._named: set[int] = set()
        self._natives: dict[str, frozenset[str]] = {}
        self.begun = asyncio.Event()
        """Set once it answers for some time."""

        self.news = asyncio.Event()
        """Set when samples have come in; cleared by whoever waits for them."""

        self.wanted = asyncio.Event()
        """Set when there is something for `telemetry.head.refill` to do: labels, or room."""

    @property
    def horizon_ms(self) -> int:
        """The time after which the head has every sample."""
        return NEVER if self._nameless else self._horizon

    @property
    def series(self) -> int:
        """Series that have, or had, samples here."""
        return int(self._slots.used[0])

    @property
    def blocks_used(self) -> int:
        """Blocks of samples in use."""
        return self._blocks_used()

    @property
    def latest_ms(self) -> int:
        """The time of the latest sample that was ever here; before all times if there was none."""
        taken = int(self._arena.level[1])
        return int(self._arena.reach[:taken].max()) if taken else -NEVER

    @property
    def used_bytes(self) -> int:
        """Memory of the blocks in use."""
        return self._blocks_used() * blocks.BLOCK_BYTES

    @property
    def free_samples(self) -> int:
        """Samples there is room for, if they fill their blocks."""
        return self._blocks_free() * blocks.BLOCK

    @property
    def nameless(self) -> list[int]:
        """Ids of series with samples whose labels the head must be told."""
        return list(self._nameless)

    @property
    def is_low(self) -> bool:
        """Whether it is time to sweep."""
        return self._blocks_free() * _LOW < len(self._arena.fill)

    def learn(self, series: Sequence[NewSeries]) -> None:
        """Have *series* be found by their labels."""
        for one in series:
            if one.kind is Kind.EXPONENTIAL:
                self.know_native(one.tenant, one.name)
        self.name_all(((one.metric, one.series_id), one.tenant, make(one.labels)) for one in series)

    def know_native(self, tenant: str, name: str) -> None:
        """Note that a metric has native histograms, which the store holds alone."""
        self._natives[tenant] = self._natives.get(tenant, frozenset()) | {name}

    def may_be_native(self, tenant: str, selection: Selection) -> bool:
        """Return whether *selection* may mean series with native histograms. On any thread."""
        names = self._natives.get(tenant, frozenset())
        name = equals(selection, "__name__")
        return bool(names) and (not name or name in names)

    def name(self, key: tuple[int, int], tenant: str, labels: Labels) -> None:
        """Tell the labels of the series *key*, metric and id; once more changes nothing."""
        self.name_all([(key, tenant, labels)])

    def name_all(self, series: Iterable[tuple[tuple[int, int], str, Labels]]) -> None:
        """Tell the keys, tenants and labels of *series*, as `name` does."""
        new = {one[0][1]: one for one in series if one[0][1] not in self._named}
        ids = np.fromiter(new, np.uint64, len(new))
        slots = np.empty(len(ids), np.int64)
        done = 0
        while done < len(ids):
            with self._lock:
                done = blocks.slots_of(self._slots, ids, slots, done)
                if done < len(ids):
                    self._grow()
        for (key, tenant, labels), slot in zip(new.values(), slots.tolist(), strict=True):
            self._index.add(tenant, labels, key, slot)
        self._named.update(new)
        self._nameless.difference_update(new)

    def forget(self, series_id: int) -> None:
        """Go on without the labels of a series that nobody knows."""
        self._named.add(series_id)
        self._nameless.discard(series_id)

    def take(self, columns: Columns) -> None:
        """Add samples that have just become durable."""
        self.news.set()
        row = 0
        before = self.series
        while row < len(columns.ids):
            with self._lock:
                row, why = blocks.append(
                    self._arena,
                    self._slots,
                    columns.ids,
                    columns.ts_ms,
                    columns.values,
                    row,
                    self._horizon if self._horizon != NEVER else -NEVER,
                )
                if why == blocks.NO_SLOT:
                    self._grow()
            if why == blocks.NO_BLOCK:
                self.miss(int(columns.ts_ms[row:].max()))
                break
        if self.series != before:
            new = self._slots.ids[before : self.series].tolist()
            self._nameless.update(one for one in new if one not in self._named)
        if self._nameless or self.is_low:
            self.wanted.set()

    def miss(self, until_ms: int) -> None:
        """Note that samples up to *until_ms* may be missing here."""
        self._missing_until = max(self._missing_until, until_ms)
        if self._start != NEVER:
            self._horizon = max(self._start, self._missing_until)

    def miss_until_now(self, received_ns: int) -> None:
        """Note that a request received then couldn't be taken in."""
        self.miss(received_ns // 1_000_000 + _FUTURE_MS)

    def fill(
        self, ids: NDArray[np.uint64], ts_ms: NDArray[np.int64], values: NDArray[np.float64]
    ) -> bool:
        """
        Put older samples, ordered by series and time, before those that are here.

        Returns:
            Whether there was room for all.

        """
        row = 0
        while row < len(ids):
            with self._lock:
                row, why = blocks.prepend(self._arena, self._slots, ids, ts_ms, values, row)
                if why == blocks.NO_SLOT:
                    self._grow()
            if why == blocks.NO_BLOCK:
                return False
        return True

    def begin(self, horizon_ms: int) -> None:
        """Answer for all times after *horizon_ms* from now on."""
        self._start = horizon_ms
        self._horizon = max(self._start, self._missing_until)
        self.begun.set()

    def read(
        self, tenant: str, selection: Selection, start_ms: int, end_ms: int, *, series_max: int
    ) -> Recent:
        """
        Return what is here of the series that *selection* means, in `[start_ms, end_ms]`.

        Series without a sample are left out. May be called on any thread.

        Raises:
            InvalidInput: QUERY_TOO_LARGE: More than *series_max* series have samples.

        """
        if self.horizon_ms == NEVER:
            return nothing()
        chosen = self._index.choose(tenant, selection)
        parts = []
        for first in range(0, len(chosen.slots), _READ_SLOTS):
            with self._lock:
                parts.append(
                    blocks.gather(
                        self._arena,
                        self._slots,
                        chosen.slots[first : first + _READ_SLOTS],
                        start_ms,
                        end_ms,
                    )
                )
        # What was freed meanwhile was no later than the horizon is by now.
        horizon = self.horizon_ms
        if horizon == NEVER:
            return nothing()
        ts, values, ends = blocks.joined(parts)
        ts, values, offsets = blocks.tidy(ts, values, ends[chosen.offsets], horizon)
        labels = chosen.labels
        there = np.flatnonzero(np.diff(offsets))
        if len(there) != len(labels):
            labels = [labels[i] for i in there.tolist()]
            offsets = np.append(offsets[:-1][there], offsets[-1])
        if len(labels) > series_max:
            raise query_too_large(
                "A selector finds too many series; add matchers.", series_max=str(series_max)
            )
        return Recent(labels=labels, ts=ts, values=values, offsets=offsets, horizon_ms=horizon)

    def read_part(
        self, chosen: Chosen, entries: tuple[int, int], start_ms: int, end_ms: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]] | None:
        """
        Return times, values and offsets of the *chosen* series from one entry to before another.

        None: not all of that time is here. May be called on any thread.
        """
        first, last = entries
        offsets = chosen.offsets[first : last + 1]
        with self._lock:
            ts, values, ends = blocks.gather(
                self._arena, self._slots, chosen.slots[offsets[0] : offsets[-1]], start_ms, end_ms
            )
        horizon = self.horizon_ms
        if start_ms <= horizon:
            return None
        return blocks.tidy(ts, values, ends[offsets - offsets[0]], horizon)

    def mark(self, tenant: str, selections: Iterable[Selection]) -> int | None:
        """
        Return a number that is another one once samples of any of *selections* have come.

        None: that can't be told, since the store may know more. May be called on any thread.
        """
        found = 0
        for selection in selections:
            if self.may_be_native(tenant, selection):
                return None
            slots = self._index.choose(tenant, selection).slots
            before = np.uint64(found)
            found = int(marks.mark(self._arena.fill, self._slots.newest, slots, before))
        return None if self.horizon_ms == NEVER else found

    def choose(self, tenant: str, selection: Selection) -> Chosen:
        """Return the series of *tenant* that *selection* means, with their slots."""
        return self._index.choose(tenant, selection)

    def ranges(
        self,
        chosen: NDArray[np.int32],
        rows: NDArray[np.int32],
        selections: int,
        *,
        window: tuple[int, int],
        rate: str,
    ) -> Ranges | None:
        """
        Return between what the values of so many *selections* lie; None if the head can't tell.

        Args:
            chosen: The slots of all selections.
            rows: Which selection each of them is of.
            window: First and last instant that counts, milliseconds.
            rate: `rate`, `increase` or `delta` over the window; empty: the newest values.

        """
        found = make_ranges(selections)
        start, end = window
        for first in range(0, len(chosen), _READ_SLOTS):
            part, their = chosen[first : first + _READ_SLOTS], rows[first : first + _READ_SLOTS]
            if not rate:
                with self._lock:
                    newest(
                        self._arena, self._slots, part, their, start, end,
                        found.bounds, found.values, found.samples, found.odd,
                    )  # fmt: skip
                continue
            with self._lock:
                columns = blocks.gather(self._arena, self._slots, part, start, end)
            ts, values, offsets = blocks.tidy(*columns, start - 1)
            np.add.at(found.samples, their, np.diff(offsets))
            ts, values, offsets = without_stale(ts, values, offsets)
            length = end - start + 1
            of, present = rates(ts, values, offsets, end=end, range_ms=length, name=rate)
            folded(of, present, their, found.bounds, found.values, found.odd)
        return found if start > self.horizon_ms else None

    def sweep(self) -> int:
        """
        Free the oldest blocks, if it is time; return how many.

        Takes some milliseconds for a million blocks: not on the event loop.
        """
        if not self.is_low:
            return 0
        with self._lock:
            reach = self._arena.reach[: int(self._arena.level[1])]
            wanted = min(len(self._arena.fill) * 2 // _LOW, len(reach) - 1)
            horizon = int(np.partition(reach, wanted)[wanted])
        return self.free(horizon)

    def free(self, horizon_ms: int) -> int:
        """Free the blocks with nothing later than *horizon_ms*; return how many."""
        self.miss(horizon_ms)  # Before anything goes: who reads meanwhile looks at it afterwards.
        freed = 0
        for first in range(0, self.series, _SWEEP_SLOTS):
            with self._lock:
                last = min(first + _SWEEP_SLOTS, self.series)
                freed += blocks.free_before(self._arena, self._slots, first, last, horizon_ms)
        return freed

    def _grow(self) -> None:
        self._slots = blocks.make_slots(2 * len(self._slots.ids), self._slots)

    def _blocks_used(self) -> int:
        return int(self._arena.level[1] - self._arena.level[0])

    def _blocks_free(self) -> int:
        return len(self._arena.fill) - self._blocks_used()
