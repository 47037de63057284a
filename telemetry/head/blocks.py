"""
Samples per series, in blocks of one arena, compiled.

A series is a slot with a chain of blocks, the newest first; a block holds `BLOCK` samples in the
order they came. `reach` of a block is the latest time in it and in all blocks before it, so a
walk back from the newest may stop at the first block that reaches no further than asked for.
"""

# ruff: noqa: PLR0917 - compiled: no keyword arguments

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from telemetry.scan.hashing import find
from telemetry.scan.wire import bare, compiled


if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ids = NDArray[np.uint64]
    Ints = NDArray[np.int64]
    Ints32 = NDArray[np.int32]
    Floats = NDArray[np.float64]

BLOCK = 16
"""Samples in a block."""

BLOCK_BYTES = BLOCK * 16 + 8 + 4 + 4 + 4
"""Memory of one block, its entries in the other arrays included."""

ALL_TAKEN, NO_BLOCK, NO_SLOT = 0, 1, 2
"""Why `append` returned."""


class Arena(NamedTuple):
    """The blocks. Untouched memory costs nothing: it is the system's until it is written."""

    ts: Ints
    """`blocks x BLOCK`, milliseconds."""

    values: Floats
    fill: Ints32
    """Samples in each block."""

    before: Ints32
    """The block before it in its chain; -1: none."""

    reach: Ints
    spare: Ints32
    """Stack of freed blocks."""

    level: Ints
    """[blocks on that stack, blocks ever taken from the arena]."""


class Slots(NamedTuple):
    """Series by their ids."""

    keys: Ids
    """Hash set of ids; 0: free."""

    places: Ints32
    """The slot of the id at the same place of `keys`."""

    newest: Ints32
    """Per slot: the newest block; -1: none."""

    ids: Ids
    """Per slot: its series id."""

    used: Ints
    """[slots in use]."""


def make_arena(blocks: int) -> Arena:
    """Return an arena of so many *blocks*."""
    return Arena(
        ts=np.empty((blocks, BLOCK), np.int64),
        values=np.empty((blocks, BLOCK), np.float64),
        fill=np.empty(blocks, np.int32),
        before=np.empty(blocks, np.int32),
        reach=np.empty(blocks, np.int64),
        spare=np.empty(blocks, np.int32),
        level=np.zeros(2, np.int64),
    )


def make_slots(room: int, old: Slots | None = None) -> Slots:
    """Return a table with *room* for so many series, with those of *old* in it."""
    size = 1 << (2 * room - 1).bit_length()
    slots = Slots(
        keys=np.zeros(size, np.uint64),
        places=np.zeros(size, np.int32),
        newest=np.full(room, -1, np.int32),
        ids=np.zeros(room, np.uint64),
        used=np.zeros(1, np.int64),
    )
    if old is not None:
        used = int(old.used[0])
        rehash(slots.keys, slots.places, old.ids[:used])
        slots.newest[:used] = old.newest[:used]
        slots.ids[:used] = old.ids[:used]
        slots.used[0] = used
    return slots


@bare
def rehash(keys: Ids, places: Ints32, ids: Ids) -> None:
    """Put *ids*, whose slots are their numbers, into an empty table."""
    for i in range(ids.shape[0]):
        at = -1 - find(keys, ids[i])
        keys[at] = ids[i]
        places[at] = i


@bare
def slot_of(slots: Slots, series: np.uint64, make: bool) -> int:  # noqa: FBT001 - as above
    """Return the slot of *series*; -1: there is none, and none was to be made or can be."""
    at = find(slots.keys, series)
    if at >= 0:
        return slots.places[at]  # type: ignore[no-any-return]
    count = slots.used[0]
    if not make or count == slots.ids.shape[0]:
        return -1
    at = -1 - at
    slots.keys[at] = series
    slots.places[at] = count
    slots.ids[count] = series
    slots.newest[count] = -1
    slots.used[0] = count + 1
    return count  # type: ignore[no-any-return]


@bare
def slots_of(slots: Slots, series: Ids, places: Ints, start: int) -> int:
    """Put the slots of *series* from row *start* on into *places*; return the first not done."""
    for row in range(start, series.shape[0]):
        places[row] = slot_of(slots, series[row], True)
        if places[row] < 0:
            return row
    return series.shape[0]  # type: ignore[no-any-return]


@bare
def _take(arena: Arena) -> int:
    """Return a free block; -1: there is none."""
    if arena.level[0] > 0:
        arena.level[0] -= 1
        return arena.spare[arena.level[0]]  # type: ignore[no-any-return]
    if arena.level[1] < arena.fill.shape[0]:
        arena.level[1] += 1
        return arena.level[1] - 1  # type: ignore[no-any-return]
    return -1


@bare
def append(
    arena: Arena, slots: Slots, ids: Ids, ts: Ints, values: Floats, start: int, horizon: int
) -> tuple[int, int]:
    """
    Append the samples from row *start* on that are later than *horizon*.

    Returns:
        The first row not taken, and why it wasn't.

    """
    for row in range(start, ids.shape[0]):
        if ts[row] <= horizon:
            continue
        slot = slot_of(slots, ids[row], True)
        if slot < 0:
            return row, NO_SLOT
        block = slots.newest[slot]
        if block < 0 or arena.fill[block] == BLOCK:
            free = _take(arena)
            if free < 0:
                return row, NO_BLOCK
            arena.before[free] = block
            arena.fill[free] = 0
            arena.reach[free] = arena.reach[block] if block >= 0 else ts[row]
            slots.newest[slot] = free
            block = free
        fill = arena.fill[block]
        arena.ts[block, fill] = ts[row]
        arena.values[block, fill] = values[row]
        arena.fill[block] = fill + 1
        arena.reach[block] = max(arena.reach[block], ts[row])
    return ids.shape[0], ALL_TAKEN


@bare
def prepend(
    arena: Arena, slots: Slots, ids: Ids, ts: Ints, values: Floats, start: int
) -> tuple[int, int]:
    """
    Put samples, ordered by series, before those that their series have already.

    Returns:
        The first row not taken, which begins a series, and why it wasn't.

    """
    row = start
    while row < ids.shape[0]:
        slot = slot_of(slots, ids[row], True)
        if slot < 0:
            return row, NO_SLOT
        stop = row
        while stop < ids.shape[0] and ids[stop] == ids[row]:
            stop += 1
        needed = (stop - row + BLOCK - 1) // BLOCK
        if arena.level[0] + arena.fill.shape[0] - arena.level[1] < needed:
            return row, NO_BLOCK
        first = last = -1
        reach = ts[row]
        while row < stop:
            block = _take(arena)
            arena.before[block] = last
            if first < 0:
                first = block
            last = block
            fill = 0
            while row < stop and fill < BLOCK:
                arena.ts[block, fill] = ts[row]
                arena.values[block, fill] = values[row]
                reach = max(reach, ts[row])
                fill += 1
                row += 1
            arena.fill[block] = fill
            arena.reach[block] = reach
        block = slots.newest[slot]
        if block < 0:
            slots.newest[slot] = last
        while block >= 0:
            arena.reach[block] = max(arena.reach[block], reach)
            if arena.before[block] < 0:
                arena.before[block] = last
                break
            block = arena.before[block]
    return row, ALL_TAKEN


@compiled
def _inside(ts: Ints, fill: int, start: int, end: int) -> int:
    """Return how many samples of a block lie in `[start, end]`; without branches, so it is fast."""
    found = 0
    for j in range(fill):
        found += (ts[j] >= start) & (ts[j] <= end)
    return found


@compiled
def gather(
    arena: Arena, slots: Slots, chosen: Ints32, start: int, end: int
) -> tuple[Ints, Floats, Ints]:
    """Return times, values and offsets of the *chosen* slots' samples in `[start, end]`."""
    offsets = np.zeros(chosen.shape[0] + 1, np.int64)
    total = 0
    for i in range(chosen.shape[0]):
        block = slots.newest[chosen[i]]
        while block >= 0 and arena.reach[block] >= start:
            total += _inside(arena.ts[block], arena.fill[block], start, end)
            block = arena.before[block]
        offsets[i + 1] = total
    ts = np.empty(total, np.int64)
    values = np.empty(total, np.float64)
    for i in range(chosen.shape[0]):
        at = offsets[i + 1]
        if at == offsets[i]:
            continue
        block = slots.newest[chosen[i]]
        while block >= 0 and arena.reach[block] >= start:
            fill = arena.fill[block]
            if _inside(arena.ts[block], fill, start, end) == fill:
                at -= fill
                for j in range(fill):
                    ts[at + j] = arena.ts[block, j]
                    values[at + j] = arena.values[block, j]
            else:
                for back in range(fill):
                    j = fill - 1 - back
                    if start <= arena.ts[block, j] <= end:
                        at -= 1
                        ts[at] = arena.ts[block, j]
                        values[at] = arena.values[block, j]
            block = arena.before[block]
    return ts, values, offsets


@compiled
def tidy(ts: Ints, values: Floats, offsets: Ints, horizon: int) -> tuple[Ints, Floats, Ints]:
    """
    Return the columns by rising time, no time twice: what came last counts.

    Samples up to *horizon* are left out.
    """
    kept = np.zeros_like(offsets)
    at = 0
    for s in range(offsets.shape[0] - 1):
        start, stop = offsets[s], offsets[s + 1]
        rising = True
        for i in range(start + 1, stop):
            if ts[i] <= ts[i - 1]:
                rising = False
                break
        if not rising:
            order = np.argsort(ts[start:stop], kind="mergesort")
            ts[start:stop] = ts[start:stop][order]
            values[start:stop] = values[start:stop][order]
        if rising and at == start and (start == stop or ts[start] > horizon):
            at = stop  # All stay where they are, as nearly always.
        else:
            for i in range(start, stop):
                if ts[i] <= horizon or (i + 1 < stop and ts[i + 1] == ts[i]):
                    continue
                ts[at] = ts[i]
                values[at] = values[i]
                at += 1
        kept[s + 1] = at
    if at == ts.shape[0]:
        return ts, values, kept
    return ts[:at].copy(), values[:at].copy(), kept


@compiled
def free_before(arena: Arena, slots: Slots, first: int, last: int, horizon: int) -> int:
    """Free the blocks of the slots `[first, last)` that reach no later than *horizon*."""
    freed = 0
    for slot in range(first, last):
        after, block = -1, slots.newest[slot]
        while block >= 0 and arena.reach[block] > horizon:
            after, block = block, arena.before[block]
        if after < 0:
            slots.newest[slot] = -1
        else:
            arena.before[after] = -1
        while block >= 0:
            arena.spare[arena.level[0]] = block
            arena.level[0] += 1
            arena.reach[block] = np.iinfo(np.int64).max
            freed += 1
            block = arena.before[block]
    return freed


def joined(
    parts: list[tuple[Ints, Floats, Ints]],
) -> tuple[Ints, Floats, Ints]:
    """Return several answers of `gather` as one."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0, np.float64), np.zeros(1, np.int64)
    ends = [np.zeros(1, np.int64)]
    total = 0
    for _, _, offsets in parts:
        ends.append(offsets[1:] + total)
        total += int(offsets[-1])
    return (
        np.concatenate([one[0] for one in parts]),
        np.concatenate([one[1] for one in parts]),
        np.concatenate(ends),
    )
